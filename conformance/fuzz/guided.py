"""The guided search: atheris hands mutated bytes to the tests of hypothesis, in bounded processes.

A test is searched `raw`, where the bytes go straight to its body, the first as the variant; and, where plain
bytes seldom pass the layers before, `drawn`, where they decide what hypothesis draws. What libFuzzer keeps of
an input that fails is run once more by pytest, which shows where; by hand:

    python -m conformance.fuzz.guided NAME raw|drawn FILE
"""

from __future__ import annotations

import importlib
import inspect
import random
import re
import shutil
import subprocess
import sys
from typing import Any, Callable, Dict, List

import pytest

from ..lib.environment import ROOT
from . import PARTS

DRAWN = (
    *("server", "server_deflate", "client_deflate", "server_handshake", "forwarded", "requests"),
    *("fragments", "dialogues"),
)
# Of a short run: the entries that a peer reaches after the handshake, and the handshake.
SHORT = [("server", "raw"), ("server_deflate", "raw"), ("server_handshake", "raw"), ("dialogues", "drawn")]
SHORT += [("chunked_body", "raw"), ("requests", "drawn")]

MAX_LENGTH = {"raw": 400, "drawn": 1500}
# An input that takes longer is a finding of its own; starting takes some seconds on a busy machine.
INPUT_SECONDS, STARTING_SECONDS = 25, 120

# What matters to the tests, as libFuzzer reads it, where each stands on a line of its own; a blank is \x20.
DICTIONARY = r"""
"\x81\x80\x00\x00\x00\x00" "\x01\x81\x00\x00\x00\x00" "\x80\x80\x00\x00\x00\x00" "\x89\x80\x00\x00\x00\x00"
"\x88\x82\x00\x00\x00\x00\x03\xe8" "\xc1\x87\x00\x00\x00\x00" "\x41\x83\x00\x00\x00\x00" "\x00\x00\xff\xff"
"\x01\x00\x00\xff\xff" "\xf2\x48\xcd\xc9\xc9\x07\x00" "\xfe\x00\x7e" "\xff\x00\x00\x00\x00\x00\x01\x00\x00"
"\xed\xa0\x80" "\xf0\x9f\x98\x80" "\xe2\x82\xac" "\xc0\xaf" "\x0d\x0a" "\x0d\x0a\x0d\x0a" "HTTP/1.1" "GET\x20"
"HEAD\x20" "Host:\x20a\x0d\x0a" "Content-Length:\x200\x0d\x0a" "Expect:\x20x\x0d\x0a" "http://a" "upgrade"
"Upgrade:\x20websocket\x0d\x0a" "Connection:\x20Upgrade\x0d\x0a" "Sec-WebSocket-Version:\x2013\x0d\x0a"
"Sec-WebSocket-Key:\x20" "Sec-WebSocket-Protocol:\x20" "Sec-WebSocket-Extensions:\x20" "Origin:\x20"
"permessage-deflate" ";\x20client_max_window_bits" ";\x20server_max_window_bits=9" "_no_context_takeover"
"Transfer-Encoding:\x20chunked\x0d\x0a" "Content-Length:\x205\x0d\x0a" "\x0d\x0a0\x0d\x0a\x0d\x0a" "5\x0d\x0a"
"POST\x20/\x20" "Connection:\x20close\x0d\x0a" ";a=\"b\"" "000000000000000" "fffffffffffffff" "HTTP/1.0"
"for=" ";proto=https" ";host=" "\"[2001:db8::1]:80\"" "192.0.2.1" "\\\"" "Forwarded:\x20" ",\x20" "[::1]"
"""

_EXECUTED = re.compile(r"number_of_executed_units: *(\d+)")


def find_tests() -> Dict[str, Any]:
    modules = [importlib.import_module(f".{module}", __package__) for module in PARTS["hypothesis"]]
    tests = [item for module in modules for item in vars(module).items() if item[0].startswith("test_")]
    return {name[len("test_") :]: test for name, test in tests}


def takes_bytes(test: Any) -> bool:
    return "example" in inspect.signature(test.hypothesis.inner_test).parameters


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    searches = [(name, "raw") for name, test in find_tests().items() if takes_bytes(test)]
    searches += [(name, "drawn") for name in DRAWN]
    metafunc.parametrize(("name", "kind"), SHORT if metafunc.config.option.short else searches)


def test_guided(
    name: str, kind: str, pytestconfig: pytest.Config, record_property: Callable[[str, Any], None]
) -> None:
    """What the test of that name says, for what a search guided by coverage finds."""
    folder, seconds = pytestconfig.option.folder / "corpora" / f"{name}-{kind}", pytestconfig.option.seconds
    seed, test = int(pytestconfig.getoption("--hypothesis-seed") or 1), find_tests()[name]
    shutil.rmtree(folder / "found", ignore_errors=True)
    for part in ("found", "corpus", "seeds"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    # Choices for hypothesis mean nothing by themselves.
    choices = [rng.randbytes(rng.randrange(100, 1500)) for _ in range(24)]
    for at, data in enumerate(draw_seeds(test) if kind == "raw" else choices):
        (folder / "seeds" / str(at)).write_bytes(data)
    (folder / "dictionary.txt").write_text("\n".join(DICTIONARY.split()), "ascii")
    flags = [f"-dict={folder / 'dictionary.txt'}", f"-artifact_prefix={folder / 'found'}/"]
    flags += [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH[kind]}", f"-seed={seed % 2**32 or 1}"]
    # Not from short inputs to longer ones: short ones draw next to nothing.
    flags += [f"-timeout={INPUT_SECONDS}", "-rss_limit_mb=1500", "-print_final_stats=1", "-len_control=0"]
    command = [sys.executable, "-m", __name__, name, kind, *flags, folder / "corpus", folder / "seeds"]
    limit = seconds + STARTING_SECONDS + INPUT_SECONDS
    with open(folder / "log.txt", "wb") as log:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=limit
        )
    text = (folder / "log.txt").read_text("utf-8", "replace")
    record_property("executions", sum(map(int, _EXECUTED.findall(text))))
    for path in (folder / "found").iterdir():
        print(path, path.read_bytes())
        make_target(test, kind)(path.read_bytes())
    assert done.returncode == 0, text[-2000:]


def draw_seeds(test: Any) -> List[bytes]:
    """What hypothesis draws for the test."""
    drawn: List[bytes] = []
    inner = test.hypothesis.inner_test
    test.hypothesis.inner_test = lambda example: drawn.append(bytes([example[0]]) + example[1])
    test()
    test.hypothesis.inner_test = inner
    return drawn


def make_target(test: Any, kind: str) -> Callable[[bytes], None]:
    inner = test.hypothesis.inner_test
    if kind == "raw":
        return lambda data: inner((data[0], data[1:])) if data else None
    return lambda data: test.hypothesis.fuzz_one_input(data)


def main(argv: List[str]) -> None:
    import atheris  # type: ignore[import-untyped]

    # wsbridge is imported under atheris's eyes, and nothing else is.
    with atheris.instrument_imports(include=["wsbridge"]):
        tests = find_tests()
    atheris.Setup([argv[0], *argv[3:]], make_target(tests[argv[1]], argv[2]))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
