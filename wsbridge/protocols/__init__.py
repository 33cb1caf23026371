"""Ground floor: bytes <-> events.

Nothing here knows of asyncio, sockets, TLS, clocks, logging or threads: every
module can be used alone, in any program that has bytes to parse.
"""
