"""ASGI applications and clients that the conformance runs put behind, or against, a server."""
