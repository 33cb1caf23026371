"""The trial of a mutant: its module's tests, and what else covers it, until one fails.

Everything here is called in a child process, which a trial leaves as soon as its verdict is known. The
module's own tests come first, the quick ones before the slow ones, then the quick tests of the other modules.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import time
import unittest
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Dict, Iterator, List, NoReturn, Optional

from .child import Say

# Not shared_headers, which is data: no mutation is made in it.
MODULES = (
    *("deflate", "errors", "events", "fields", "forwarded", "frames"),
    *("handshake", "http11", "masking", "messages", "origins", "ws"),
)

# What covers the ground floor besides the test files that mirror its modules.
OTHER_TESTS = ("contract", "deflate_negotiation", "receiver_table")

# A test of another module that takes longer costs more than it finds.
QUICK_SECONDS = 0.1

# A mutant may loop for ever, or allocate without end: limits in seconds of processor time, which do not
# depend on what else the machine does, and in bytes.
PATIENCE_SECONDS, PATIENCE_FACTOR = 3.0, 10.0
MEMORY_BYTES = 2 * 2**30

SURVIVED = "survived"

# By the test's id: seconds of processor time.
Durations = Dict[str, float]


class MutantFinder(MetaPathFinder, InspectLoader):
    """Makes the import of one module of wsbridge/protocols yield the mutant."""

    def __init__(self, path: Path, code: CodeType) -> None:
        self.name = f"wsbridge.protocols.{path.stem}"
        self.path = path
        self.code = code

    def find_spec(self, name: str, path: Any, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, name: str) -> CodeType:
        return self.code

    def get_source(self, name: str) -> None:
        return None


def install(path: Path, code: CodeType) -> None:
    """Put a mutant in the place of the module at `path`, and bound what it can allocate."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.meta_path.insert(0, MutantFinder(path, code))


def try_mutant(module: str, durations: Durations, say: Say, *, is_quick: bool) -> None:
    """Say what comes of the mutant; `is_quick`: after the quick ones of its own tests, and no others."""
    own = load_tests(module, say)
    run_all(pick_quick(own, durations) if is_quick else own, durations, say)
    for other in () if is_quick else (*MODULES, *OTHER_TESTS):
        if other != module:
            run_all(pick_quick(load_tests(other, say), durations), durations, say)
    say(SURVIVED)


def measure(sources: Path, say: Say) -> None:
    """Run every test on mutants that are none; say its id and how long it takes, or that it fails."""
    for module in MODULES:
        path = sources / f"{module}.py"
        install(path, compile(path.read_bytes(), str(path), "exec", dont_inherit=True))
    for module in (*MODULES, *OTHER_TESTS):
        for test in load_tests(module, say):
            before = time.process_time()
            if not run(test):
                end(say, f"{test.id()} fails without a mutant")
            say(f"{test.id()} {time.process_time() - before:.6f}")


def list_imports(say: Say) -> None:
    """Say the names of all modules that the tests load, but for the tests and what they test."""
    for module in (*MODULES, *OTHER_TESTS):
        load_tests(module, say)
    for name in list(sys.modules):
        if name.partition(".")[0] not in ("tests", "wsbridge", "__main__"):
            say(name)


def enter_copy(copy: Path) -> None:
    """From now on `wsbridge` and `tests` are those in this folder."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))


def load_tests(module: str, say: Say) -> List[unittest.TestCase]:
    """The tests of a module; a mutant that cannot even be imported ends the trial."""
    name = f"tests.test_{module}"
    with patience(PATIENCE_SECONDS, "import", say):
        try:
            importlib.import_module(name)
        except BaseException as error:
            end(say, f"killed by import: {type(error).__name__}: {error}")
    return list(flatten(unittest.defaultTestLoader.loadTestsFromName(name)))


def flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from flatten(entry)
        else:
            yield entry


def pick_quick(tests: List[unittest.TestCase], durations: Durations) -> List[unittest.TestCase]:
    return [test for test in tests if durations[test.id()] < QUICK_SECONDS]


def run_all(tests: List[unittest.TestCase], durations: Durations, say: Say) -> None:
    """Run the tests, the quickest first; the first that fails ends the trial."""
    for test in sorted(tests, key=lambda test: durations[test.id()]):
        with patience(PATIENCE_SECONDS + PATIENCE_FACTOR * durations[test.id()], test.id(), say):
            if not run(test):
                end(say, f"killed by {test.id()}")


def run(test: unittest.TestCase) -> bool:
    # In a suite of its own, so that class fixtures are run as well.
    return unittest.TestSuite([test]).run(unittest.TestResult()).wasSuccessful()


class patience:
    """Ends the trial when what runs within takes too much processor time."""

    def __init__(self, seconds: float, what: str, say: Say) -> None:
        self.seconds = seconds
        self.what = what
        self.say = say

    def __enter__(self) -> None:
        signal.signal(signal.SIGPROF, lambda number, frame: end(self.say, f"killed by time: {self.what}"))
        signal.setitimer(signal.ITIMER_PROF, self.seconds)

    def __exit__(self, *exception: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)


def end(say: Say, verdict: str) -> NoReturn:
    """Leave at once: whatever a mutant catches, it cannot catch this."""
    say(verdict.splitlines()[0])
    os._exit(1)
