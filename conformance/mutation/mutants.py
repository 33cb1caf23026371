"""The mutants and what comes of them: cosmic-ray finds, makes and tries them, in a copy for each process."""

from __future__ import annotations

import compileall
import filecmp
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Dict, List, Sequence, Tuple

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.util import read_python_source
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from ..lib.environment import ROOT, Unavailable, say_line
from .survivors import Outcome, build_key

# A mutant may wait or loop for ever, or allocate without end. The factor is of its tests' own time.
PATIENCE_SECONDS, PATIENCE_FACTOR = 10.0, 5.0
MEASURE_SECONDS = 300.0
MEMORY_BYTES = 2 * 2**30

# Mutants that say nothing of the tests: whether == and `is` differ is up to the interpreter, which keeps one
# object for each small integer; and the star of `*arguments` and of `f(a, *, b)` is no multiplication.
TO_IDENTITY = re.compile(r"ReplaceComparisonOperator_(?!Is)\w+_Is(Not)?$")
BEFORE_STAR = re.compile(r"[(\[{,:=]\s*$")


def try_modules(folder: Path, tests: Dict[str, List[str]], jobs: int, is_again: bool) -> List[Outcome]:
    """Return what comes of each mutant of the modules in `tests`, which names the tests of each.

    The session stays in `folder`; with `is_again` only what the one that is there has not killed is tried.
    """
    session = folder / "session.sqlite"
    if not is_again:
        session.unlink(missing_ok=True)
        _copy_sources(folder / "tried")
    elif not session.exists():
        raise Unavailable("there is no last run: try without --again")
    # Paths in the session are relative, so that they name the file in every copy.
    os.chdir(folder / "tried")
    sources = {Path("wsbridge", f"{module}.py"): module for module in tests}
    database = WorkDB(session, WorkDB.Mode.create)
    if not is_again:
        say_line("mutation: finding the mutants")
        init(list(sources), database, {})
        pointless = [item.job_id for item in database.work_items if _is_pointless(item.mutations[0])]
        database.set_multiple_results(pointless, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    items = [item for item in _list_untried(database) if item.mutations[0].module_path in sources]
    changed = {item.mutations[0].module_path for item in items if _is_changed(item.mutations[0].module_path)}
    if changed:
        raise Unavailable(f"changed since the last run, try without --again: {', '.join(map(str, changed))}")
    commands = {
        path: f"{sys.executable} -m unittest --failfast {' '.join(tests[module])}"
        for path, module in sources.items()
    }
    _try_items(database, items, commands, jobs)
    return [
        _build_outcome(sources[item.mutations[0].module_path], item.mutations[0], result)
        for item, result in database.completed_work_items
        if result.worker_outcome == WorkerOutcome.NORMAL and item.mutations[0].module_path in sources
    ]


def _copy_sources(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("wsbridge", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    # By its hash, since a mutant can have the original's size and second.
    compileall.compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)


def _is_pointless(mutation: MutationSpec) -> bool:
    if TO_IDENTITY.search(mutation.operator_name):
        return True
    row, column = mutation.start_pos
    lines = read_python_source(mutation.module_path).splitlines(keepends=True)
    before = "".join(lines[: row - 1]) + lines[row - 1][:column]
    return lines[row - 1].startswith("*", column) and BEFORE_STAR.search(before) is not None


def _list_untried(database: WorkDB) -> List[WorkItem]:
    survivors = [item for item, result in database.completed_work_items if not result.is_killed]
    return [*survivors, *database.pending_work_items]


def _is_changed(path: Path) -> bool:
    return not filecmp.cmp(path, ROOT / path, shallow=False)


def _try_items(database: WorkDB, items: Sequence[WorkItem], commands: Dict[Path, str], jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pool = ProcessPoolExecutor(
            jobs, multiprocessing.get_context("fork"), initializer=_enter_copy, initargs=(folder,)
        )
        try:
            used = sorted({item.mutations[0].module_path for item in items})
            patience = dict(zip(used, pool.map(_measure, [commands[path] for path in used])))
            started = time.monotonic()
            pending = [
                pool.submit(_try, item, commands[path], patience[path])
                for item in items
                for path in [item.mutations[0].module_path]
            ]
            for done, future in enumerate(as_completed(pending), 1):
                database.set_result(*future.result())
                left = (time.monotonic() - started) / done * (len(items) - done) / 60
                said = f"mutation: {done} of {len(items)}, {left:.0f} minutes left"
                say_line(said, final=done == len(items))
        finally:
            pool.shutdown(cancel_futures=True)


def _enter_copy(folder: str) -> None:
    """Make a copy for this process alone."""
    # An interruption ends the parent, which lets this process end its mutant: it alone can.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    copy = Path(folder, str(os.getpid()))
    _copy_sources(copy)
    os.chdir(copy)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _measure(command: str) -> float:
    """Run tests without a mutant; return how long they may take with one."""
    started = time.monotonic()
    if run_tests(command, MEASURE_SECONDS)[0] != TestOutcome.SURVIVED:
        raise Unavailable(f"fails without a mutant: {command}")
    return PATIENCE_SECONDS + PATIENCE_FACTOR * (time.monotonic() - started)


def _try(item: WorkItem, command: str, seconds: float) -> Tuple[str, WorkResult]:
    result = mutate_and_test(item.mutations, command, seconds)
    if result.worker_outcome != WorkerOutcome.NORMAL:
        print(f"cosmic-ray cannot make {item.mutations[0]}: {result.output.splitlines()[-1]}")
    return item.job_id, result


def _build_outcome(module: str, mutation: MutationSpec, result: WorkResult) -> Outcome:
    # Three lines of file names come first.
    key = build_key(module, mutation.definition_name or "", result.diff.splitlines()[3:])
    return Outcome(key, result.is_killed)
