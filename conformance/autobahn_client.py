"""The Autobahn fuzzing server, all 517 cases, against a small client built on WSProtocol.

    python3 conformance/run.py autobahn-client [--cases '6.4.*' | quick ...] [--check | --update] [--jobs N]
        [--python PATH] [--loop uvloop]

The client is conformance/lib/apps/client.py. Reports, record and exit code are those of `autobahn`.
"""

from __future__ import annotations

from typing import List

from .autobahn import open_folder, parse_arguments, report_run
from .autobahn.servers import CLIENT, prepare_target
from .autobahn.suite import ClientSeat, run_cases
from .autobahn.wstest import find_wstest


def main(argv: List[str]) -> int:
    options = parse_arguments(argv, with_peers=False)
    wstest = find_wstest()
    target = prepare_target(CLIENT, options.python, options.loop)
    folder = open_folder(target.label, options)
    log = folder / "client.log"
    run = run_cases(
        target.label,
        "client",
        options.picked,
        folder / "batches",
        lambda number: ClientSeat(wstest, target, log),
        jobs=options.jobs,
        seconds=options.seconds,
    )
    printed = log.read_text("utf-8", "replace") if log.exists() else ""
    troubles = [f"the client printed: {line}" for line in printed.splitlines()[-10:]]
    return report_run(
        run._replace(troubles=[*run.troubles, *troubles]),
        options,
        folder,
        label=target.label,
        version="this tree",
        record_name="client",
        subtitle=f"client role, on {target.implementation}, {target.loop}; wstest: {wstest.origin}",
        facts={},
    )
