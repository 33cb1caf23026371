"""The Autobahn fuzzing server, all 517 cases, against a small client built on WSProtocol.

    python3 conformance/run.py autobahn-client [--cases '6.4.*' | quick ...] [--update] [--jobs N]
        [--python PATH] [--loop uvloop]

The client is conformance/lib/apps/client.py. Reports, record and exit code are those of `autobahn`.
"""

from __future__ import annotations

from typing import List

from .autobahn import run_role


def main(argv: List[str]) -> int:
    return run_role("client", argv)
