"""Running cases: batches of them, one after the other or several at a time, each result exactly once."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from ..lib.environment import say_line
from ..lib.servers import Process, ServerProcess
from .record import get_section
from .results import Result
from .wstest import Batch, WSTest

BATCH = 24
# The longest case gives itself 480 s; a suite that is silent for longer hangs.
SILENCE_SECONDS = 540.0
WHOLE_SECONDS = 5400.0


@dataclass
class Run:
    """The cases that were picked, before one implementation.

    role: its role, "server" or "client". label, command: its name, and how it is started.
    results: in the order of the cases, once `run` has returned; a case without a result is missing.
    troubles: what went wrong besides cases.
    servers: its processes, when the server role is ours or a peer's.
    """

    wstest: WSTest
    role: str
    label: str
    command: Sequence[str]
    cases: Sequence[str]
    folder: Path
    results: Dict[str, Result] = field(default_factory=dict)
    troubles: List[str] = field(default_factory=list)
    servers: List[ServerProcess] = field(default_factory=list)
    minutes: float = 0.0
    _batches: List[List[str]] = field(default_factory=list)
    _begun: int = 0

    async def run(self, jobs: int) -> None:
        """Run all cases, `jobs` at a time; what is not done after 90 minutes is missing."""
        started = time.monotonic()
        try:
            await asyncio.wait_for(self._run_cases(jobs), WHOLE_SECONDS)
        except asyncio.TimeoutError:
            self.troubles.append(f"out of time after {WHOLE_SECONDS:.0f} s")
        self.results = {case: self.results.get(case) or Result(case, None, self.role) for case in self.cases}
        self.minutes = (time.monotonic() - started) / 60

    async def _run_cases(self, jobs: int) -> None:
        # Section 9 measures time, and always has the machine to itself.
        alone = [case for case in self.cases if get_section(case) == "9"]
        others = [case for case in self.cases if get_section(case) != "9"]
        work = self._test_server if self.role == "server" else self._test_client
        for cases, workers in ((others, jobs), (alone, 1)):
            self._batches = [cases[at : at + BATCH] for at in range(0, len(cases), BATCH)]
            await asyncio.gather(*(work() for _ in range(workers)))

    async def _test_server(self) -> None:
        """Put servers before the fuzzing client, each for as many batches as it lives through."""
        while self._batches:
            log = self.folder / f"server-{len(self.servers)}.log"
            server = ServerProcess(self.label, self.command, log)
            self.servers.append(server)
            async with server:
                url = f"ws://127.0.0.1:{server.port}"
                while self._batches and server.poll() is None:
                    batch = self._begin_batch("fuzzingclient")
                    batch.write_specification(servers=[{"agent": self.label, "url": url}])
                    async with Process("wstest", batch.command, batch.log) as wstest:
                        trouble = await self._watch(wstest)
                    if server.poll() is not None:
                        trouble = f"the server ended by itself: {server.read_last_line()}"
                    self._end_batch(batch, trouble)

    async def _test_client(self) -> None:
        """Put a client before a fuzzing server, both anew for each batch."""
        while self._batches:
            batch = self._begin_batch("fuzzingserver")
            wstest = ServerProcess("wstest", batch.command, batch.log)
            url = f"ws://127.0.0.1:{wstest.port}"
            batch.write_specification(url=url)
            command = [part.replace("{url}", url) for part in self.command]
            async with wstest, Process("the client", command, batch.folder / "client.log") as client:
                # The client's last request makes wstest write its report and end.
                trouble = await self._watch(wstest, client)
            self._end_batch(batch, trouble)
            self.troubles += [f"the client printed: {line}" for line in client.read_log().splitlines()[-10:]]

    def _begin_batch(self, mode: str) -> Batch:
        self._begun += 1
        return Batch(self.wstest, mode, self._batches.pop(0), self.folder / f"{self._begun:03d}")

    async def _watch(self, wstest: Process, client: Optional[Process] = None) -> str:
        """Wait until wstest ends, or the client fails; return what went wrong, or ""."""
        log, heard = "", time.monotonic()
        while wstest.poll() is None:
            if client is not None and client.poll():
                return f"the client ended with {client.poll()}"
            printed = wstest.read_log()
            if printed != log:
                log, heard = printed, time.monotonic()
            if time.monotonic() - heard > SILENCE_SECONDS:
                return f"wstest was silent for {SILENCE_SECONDS:.0f} s"
            begun = re.findall(r"^Running test case ID (\S+)", log, re.MULTILINE)
            bad = sum(not result.is_good for result in self.results.values())
            progress = f"{len(self.results)} of {len(self.cases)} cases, {bad} not OK"
            say_line(f"{self.label}: {progress}  {begun[-1] if begun else ''}")
            await asyncio.sleep(0.05)
        return f"wstest ended with {wstest.poll()}" if wstest.poll() else ""

    def _end_batch(self, batch: Batch, trouble: str) -> None:
        for case, record in batch.read_records().items():
            page = Path(record["page"]).relative_to(self.folder.parent)
            self.results[case] = Result(case, record, self.role, str(page))
        missing = [case for case in batch.cases if case not in self.results]
        if trouble or missing:
            told = f"{batch.cases[0]} to {batch.cases[-1]}" if len(batch.cases) > 1 else batch.cases[0]
            self.troubles.append(f"{told}: {trouble or 'no result'}, see {batch.log}")
        if missing and len(batch.cases) > 1:
            # One case that breaks the suite or the server takes the rest of its batch along.
            self._batches[:0] = [[case] for case in missing]
