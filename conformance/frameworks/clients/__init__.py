"""Clients that are programs of their own: `python -m conformance.frameworks.clients.NAME PORT ...`."""
