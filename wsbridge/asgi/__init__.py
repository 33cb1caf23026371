"""Middle floor: events <-> ASGI dicts. Knows the ground floor and the configuration, no socket, no time."""
