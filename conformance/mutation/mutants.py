"""The mutants and what comes of them: cosmic-ray finds and makes them; they are tried here, several at once.

cosmic-ray itself starts an interpreter and parses the module for every mutant, 0.34 s of processor time each.
A child that is forked where the tests' imports are loaded and the modules are parsed takes a quarter of it.
"""

from __future__ import annotations

import compileall
import contextlib
import difflib
import functools
import importlib
import json
import multiprocessing
import re
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Container, List, NamedTuple, Optional, Sequence

from cosmic_ray.ast import get_ast
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec

from ..lib.environment import ROOT, Unavailable, say_line
from .child import Say, run_in_child
from .outcomes import Key, Outcome, build_key
from .trial import SURVIVED, Durations, enter_copy, install, list_imports, measure, try_mutant

# What computes is ended by the trial itself; this is for a mutant that waits for something.
TRIAL_SECONDS = 300.0
MEASURE_SECONDS = 600.0

NO_PYTHON = "no Python"

# Mutants that say nothing of the tests: whether == and `is` differ is up to the interpreter, which keeps one
# object for each small integer; and the star before keyword-only arguments is no multiplication.
TO_IDENTITY = re.compile(r"ReplaceComparisonOperator_(?!Is)\w+_Is(Not)?$")


class Copy(NamedTuple):
    """A copy of wsbridge/ and tests/: how long the tests take, and the mutants that there are."""

    folder: Path
    durations: Durations
    mutants: Sequence[MutationSpec]

    @property
    def sources(self) -> Path:
        return self.folder / "wsbridge" / "protocols"


def find_mutants(folder: Path, modules: Sequence[str]) -> Copy:
    """Copy what is tested, see that its tests pass, and list the mutants of `modules`."""
    for name in ("wsbridge", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(folder, quiet=2)
    enter_copy(folder)
    say_line("mutation: running the tests without a mutant")
    for name in run_in_child(list_imports, MEASURE_SECONDS):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    copy = Copy(folder, {}, [])
    measured = run_in_child(functools.partial(measure, copy.sources), MEASURE_SECONDS)
    if not measured or measured[-1].endswith("mutant"):
        raise Unavailable(f"nothing to measure by: {measured[-1] if measured else 'no test ran'}")
    durations = {test: float(seconds) for test, seconds in map(str.split, measured)}
    say_line("mutation: finding the mutants")
    record = WorkDB(":memory:", WorkDB.Mode.create)
    init([copy.sources / f"{module}.py" for module in modules], record, {})
    mutants = [item.mutations[0] for item in record.work_items]
    return Copy(folder, durations, [mutant for mutant in mutants if _says_something(mutant)])


def name_mutant(mutant: MutationSpec) -> str:
    return f"{mutant.operator_name.rpartition('/')[2]} {mutant.occurrence}"


def try_mutants(
    mutants: Sequence[MutationSpec], durations: Durations, listed: Container[Key], jobs: int
) -> List[Outcome]:
    """What comes of each mutant; those that are no Python are left out.

    A mutant in `listed` is one that is known to survive, whatever its tests: it is given the quick ones only.
    """
    outcomes: List[Outcome] = []
    started = time.monotonic()
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"))
    try:
        pending = [pool.submit(_try, mutant, durations, listed) for mutant in mutants]
        for done, future in enumerate(as_completed(pending), 1):
            outcome = future.result()
            if outcome is not None:
                outcomes.append(outcome)
            survived = sum(not outcome.is_killed for outcome in outcomes)
            left = (time.monotonic() - started) / done * (len(mutants) - done) / 60
            said = f"mutation: {done} of {len(mutants)}, {survived} survived, {left:.0f} minutes left"
            say_line(said, final=done == len(mutants))
    finally:
        pool.shutdown(cancel_futures=True)
    return outcomes


def _says_something(mutant: MutationSpec) -> bool:
    row, column = mutant.start_pos
    source, _ = _parse(mutant.module_path)
    is_star = source.splitlines()[row - 1].startswith("*,", column)
    return not is_star and TO_IDENTITY.search(mutant.operator_name) is None


def _try(mutant: MutationSpec, durations: Durations, listed: Container[Key]) -> Optional[Outcome]:
    source, tree = _parse(mutant.module_path)

    def work(say: Say) -> None:
        # The tree is changed in place, which in a child is no harm.
        visitor = MutationVisitor(mutant.occurrence, get_operator(mutant.operator_name)())
        mutated = visitor.walk(tree).get_code()
        try:
            code = compile(mutated, str(mutant.module_path), "exec", dont_inherit=True)
        except SyntaxError:
            return say(NO_PYTHON)
        diff = list(difflib.unified_diff(source.splitlines(), mutated.splitlines(), n=2, lineterm=""))[2:]
        key = build_key(mutant.module_path.stem, mutant.definition_name or "", diff)
        say(json.dumps([key, "\n".join(diff)]))
        install(mutant.module_path, code)
        try_mutant(key.module, durations, say, is_quick=key in listed)

    said = run_in_child(work, TRIAL_SECONDS)
    if not said:
        raise Unavailable(f"cosmic-ray failed at {mutant}")
    if said == [NO_PYTHON]:
        return None
    key, diff = json.loads(said[0])
    # A child that said no more was ended from outside, or crashed.
    verdict = said[1] if len(said) > 1 else "killed by the system"
    return Outcome(name_mutant(mutant), Key(*key), mutant.start_pos[0], verdict != SURVIVED, verdict, diff)


@functools.cache
def _parse(path: Path) -> Any:
    source = path.read_text("utf-8")
    return source, get_ast(source)
