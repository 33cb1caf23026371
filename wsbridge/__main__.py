"""``python3 -m wsbridge``: the command line."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from . import __name__ as PACKAGE

__all__ = ["command"]


def command() -> None:
    """Copy or test this package if the first argument says so, and else serve."""
    # Only one of the two is imported: `selftest` must run where a file of the server is broken or missing,
    # and a copy made with ``--only protocols`` has no server.
    if sys.argv[1:2] in (["vendor"], ["selftest"]) or find_spec(f"{PACKAGE}.server") is None:
        from . import vendoring

        sys.exit(vendoring.main())
    from .server.command import cli

    cli.command()


if __name__ == "__main__":
    command()
