"""Listening sockets, and TLS on them."""
