"""``python3 -m wsbridge``: the command line."""

from __future__ import annotations

from .server.cli import command

if __name__ == "__main__":
    command()
