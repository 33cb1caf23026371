"""The atheris part: a search guided by coverage, one bounded process for each target.

A target is searched twice: `raw`, where the mutated bytes go straight to its check, and, for those behind
layers that plain bytes seldom pass, `drawn`, where they decide what hypothesis draws.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ..lib.environment import ROOT, say_line
from .findings import DOCUMENTED, Finding
from .seeds import write_dictionary, write_random_seeds, write_seeds
from .targets import TARGETS, describe_replay

DRAWN = (
    "server",
    "server-deflate",
    "client-deflate",
    "server-handshake",
    "forwarded",
    "fragments",
    "dialogues",
)
MAX_LENGTH = {"raw": 400, "drawn": 1500}
# An input that takes longer is a finding of its own; starting takes some seconds on a busy machine.
INPUT_SECONDS, STARTING_SECONDS = 25, 120
POLL_SECONDS = 0.05

_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_EXECUTED = re.compile(r"number_of_executed_units: *(\d+)")


@dataclass
class Search:
    """What became of one process."""

    name: str
    kind: str
    executions: int
    coverage_at_start: int
    coverage: int
    features: int
    corpus: int
    seconds: float
    finding: Optional[Finding] = None


def list_searches(names: List[str]) -> List[Tuple[str, str]]:
    raw = [(name, "raw") for name in TARGETS if name in names]
    return raw + [(name, "drawn") for name in DRAWN if name in names]


def run_all(
    searches: List[Tuple[str, str]], folder: Path, seed: int, seconds: int, jobs: int
) -> List[Search]:
    """Run the searches; the corpora stay under `folder`, and the next run begins with them."""
    started = time.monotonic()
    done: Dict[Tuple[str, str], Search] = {}
    folder.mkdir(parents=True, exist_ok=True)
    write_dictionary(folder / "dictionary.txt")
    waiting = list(searches)
    running: List[Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Running(*waiting.pop(0), folder, seed, seconds))
            time.sleep(POLL_SECONDS)
            for search in [search for search in running if search.has_ended()]:
                running.remove(search)
                done[search.name, search.kind] = search.read()
                left = (time.monotonic() - started) / len(done) * (len(searches) - len(done))
                found = sum(search.finding is not None for search in done.values())
                said = f"fuzz: atheris {len(done)}/{len(searches)}, {found} findings, about {left:.0f} s left"
                say_line(said)
    finally:
        for search in running:
            search.kill()
    total = sum(search.executions for search in done.values())
    say_line(f"fuzz: atheris: {total} executions in {time.monotonic() - started:.0f} s", final=True)
    return [done[search] for search in searches]


class Running:
    """One process of libFuzzer, bounded in time, memory and the length of its inputs."""

    def __init__(self, name: str, kind: str, folder: Path, seed: int, seconds: int) -> None:
        self.name, self.kind = name, kind
        own = folder / f"{name}-{kind}"
        self._log, self._found = own / "log.txt", own / "found"
        corpus, seeds = own / "corpus", own / "seeds"
        shutil.rmtree(self._found, ignore_errors=True)
        for path in (corpus, seeds, self._found):
            path.mkdir(parents=True, exist_ok=True)
        if kind == "raw":
            write_seeds(name, seeds)
        else:
            write_random_seeds(seeds, seed)
        command = [sys.executable, "-m", "conformance.fuzz.guided_target", name, kind]
        command += [str(self._found / "finding.json"), str(corpus), str(seeds)]
        command += [f"-dict={folder / 'dictionary.txt'}", f"-artifact_prefix={self._found}/"]
        command += [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_LENGTH[kind]}",
            f"-seed={seed % 2**32 or 1}",
        ]
        command += [f"-timeout={INPUT_SECONDS}", "-rss_limit_mb=1500", "-print_final_stats=1"]
        # Not from short inputs to longer ones: short ones draw next to nothing.
        command += ["-len_control=0"]
        self._started = time.monotonic()
        self._limit = self._started + seconds + STARTING_SECONDS + INPUT_SECONDS
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def has_ended(self) -> bool:
        """Whether it has; what takes too long is made to."""
        if self._process.poll() is None and time.monotonic() > self._limit:
            self.kill()
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def read(self) -> Search:
        """What has become of it."""
        code, seconds = self._process.returncode, time.monotonic() - self._started
        text = self._log.read_text("utf-8", "replace")
        covered = [(int(cov), int(ft), int(corp)) for cov, ft, corp in _COVERAGE.findall(text)] or [(0, 0, 0)]
        executed = _EXECUTED.search(text)
        finding = None if code == 0 else read_finding(self.name, self.kind, self._found, code, text)
        count = int(executed[1]) if executed else 0
        return Search(self.name, self.kind, count, covered[0][0], *covered[-1], seconds, finding)


def read_finding(name: str, kind: str, found: Path, code: int, text: str) -> Finding:
    """What the process left when it ended otherwise than by its time."""
    try:
        told: Dict[str, Any] = json.loads((found / "finding.json").read_text("utf-8"))
        return Finding("atheris", f"{name} ({kind})", **told)
    except (OSError, ValueError):
        pass
    # Not an exception: out of time or memory, or the process itself broke; libFuzzer kept the input.
    artifacts = [path for path in sorted(found.iterdir()) if path.name != "finding.json"]
    last = text.strip().splitlines()[-1] if text.strip() else "no output"
    seen = f"ended with {code}: {artifacts[0].name if artifacts else last:.300}"
    data = artifacts[0].read_bytes() if artifacts else b""
    replay = describe_replay(name, data[0], data[1:]) if data and kind == "raw" else f"see {found}"
    return Finding("atheris", f"{name} ({kind})", DOCUMENTED, seen, data.hex(), replay)
