"""One process of the guided search: `python -m conformance.fuzz.guided_target NAME KIND FINDING [flags]`.

wsbridge is imported under atheris's eyes, and nothing else is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["wsbridge"]):
    import wsbridge.asgi.scope
    import wsbridge.protocols.handshake
    import wsbridge.protocols.ws  # noqa: F401

from .findings import DOCUMENTED, Violation
from .targets import TARGETS, check, describe_replay


def main(argv: List[str]) -> None:
    name, kind, finding = argv[1], argv[2], Path(argv[3])
    atheris.Setup(
        [argv[0], *argv[4:]], make_raw(name, finding) if kind == "raw" else make_drawn(name, finding)
    )
    atheris.Fuzz()


def make_raw(name: str, finding: Path) -> Callable[[bytes], None]:
    """The first byte is the variant, the rest what comes from outside."""
    target = TARGETS[name]

    def run(data: bytes) -> None:
        if not data:
            return
        try:
            check(target, data[0], data[1:])
        except Violation as violation:
            again = describe_replay(name, data[0], data[1:])
            keep(finding, violation, target.describe(data[0], data[1:]), again)
            raise

    return run


def make_drawn(name: str, finding: Path) -> Callable[[bytes], None]:
    """The bytes decide what hypothesis draws."""
    # Here, because loading it takes longer than all the rest.
    from hypothesis import HealthCheck, given, settings

    from .properties import PAIRS
    from .strategies import build_examples

    body = make_raw_body(name, finding) if name in TARGETS else make_pair_body(PAIRS[name], finding)
    draws = {"example": build_examples(name)} if name in TARGETS else PAIRS[name].draws
    quiet = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    run: Any = quiet(given(**draws)(body))
    fuzz_one_input: Callable[[bytes], object] = run.hypothesis.fuzz_one_input
    return lambda data: void(fuzz_one_input(data))


def make_raw_body(name: str, finding: Path) -> Callable[..., None]:
    run = make_raw(name, finding)

    def body(example: Any) -> None:
        variant, data = example
        run(bytes([variant]) + data)

    return body


def make_pair_body(pair: Any, finding: Path) -> Callable[..., None]:
    def body(**arguments: Any) -> None:
        try:
            pair.check(**arguments)
        except Exception as error:
            violation = error if isinstance(error, Violation) else Violation(DOCUMENTED, repr(error))
            shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            keep(finding, violation, f"{pair.check.__name__}({shown})", "call it with these arguments")
            raise violation from error

    return body


def keep(path: Path, violation: Violation, example: str, replay: str) -> None:
    told: Dict[str, str] = {"invariant": violation.invariant, "text": violation.text}
    path.write_text(json.dumps({**told, "example": example, "replay": replay}), "utf-8")


def void(_: object) -> None:
    """atheris wants None."""


if __name__ == "__main__":
    main(sys.argv)
