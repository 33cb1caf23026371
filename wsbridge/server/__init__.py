"""Top floor: the only home of sockets, tasks and time."""
