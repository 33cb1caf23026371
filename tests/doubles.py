"""What stands in for the network, for time and for an application, and what no test may leave behind."""

from __future__ import annotations

import asyncio
import logging
import sys
import unittest
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any, Awaitable, Callable, Dict, Iterable, List, Optional, Tuple
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.server.plain import Plain
from wsbridge.server.service import Service
from wsbridge.server.speed import SPEED

__all__ = [
    "DATE",
    "HAS_FAST",
    "Clock",
    "ManualApp",
    "MemoryTransport",
    "ServiceTestCase",
    "build_date",
    "load_for",
    "turn_loop",
    "use_random",
    "without",
]

#: Whether `wsbridge.server.fast` is there, without which a server does the same, more slowly.
HAS_FAST = type(SPEED) is not Plain

# RFC 9110 5.6.7: the example of a date.
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def build_date() -> bytes:
    """The value of `DATE`, for ever."""
    return b"Sun, 06 Nov 1994 08:49:37 GMT"


def use_random(test: unittest.TestCase, source: Callable[[int], bytes] = bytes) -> None:
    """Until the test ends, ``source`` makes what `os.urandom` returns: zeros, if nothing else is said."""
    patch = mock.patch("os.urandom", source)
    patch.start()
    test.addCleanup(patch.stop)


def without(*modules: str) -> Any:
    """A Python that was built without these modules."""
    return mock.patch.dict(sys.modules, dict.fromkeys(modules))


def load_for(implementation: str, module: ModuleType) -> Any:
    """A copy of the module as it is on ``implementation``, such as "pypy"."""
    spec: Any = module.__spec__
    copy = module_from_spec(spec)
    with mock.patch.object(sys.implementation, "name", implementation):
        spec.loader.exec_module(copy)
    return copy


async def turn_loop(turns: int = 10) -> None:
    """Let everything that is ready have its turn."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Clock:
    """A monotonic time in seconds, which only `advance` moves: the ``clock`` of a `Service`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class MemoryTransport(asyncio.Transport):
    """A connection whose peer is the test; it keeps the promises that asyncio's own transports make.

    The peer reads at once what is written, unless ``is_peer_reading`` is
    False: then it waits in the buffer until `take`. ``half_close`` is False
    under TLS. ``extra`` is what `get_extra_info` knows.
    """

    def __init__(self, *, half_close: bool = True, **extra: Any) -> None:
        super().__init__()
        self.extra: Dict[str, Any] = {
            "peername": ("127.0.0.1", 50000),
            "sockname": ("127.0.0.1", 8000),
            **extra,
        }
        #: What was written, call by call.
        self.writes: List[bytes] = []
        #: pause_reading, resume_reading, write_eof, close, abort: as they were called.
        self.calls: List[str] = []
        self.is_peer_reading = True
        self.is_reading_paused = False
        self.is_lost = False
        #: Whether it has let go of its socket, as asyncio's under TLS before Python 3.11 does at its end.
        self.is_detached = False
        #: Whether a write is a mistake from now on.
        self.is_refusing = False
        #: What `write_eof` raises, as where the peer has reset the connection.
        self.eof_error: Optional[OSError] = None
        self.protocol: Any = None
        self.half_close = half_close
        self.buffered = 0
        self.high, self.low = 64 * 1024, 16 * 1024
        self.is_protocol_paused = False
        self.is_at_eof = False
        self.is_ending = False

    # ------------------------------------------------------------ what the test does

    @property
    def written(self) -> bytes:
        """All that was written so far."""
        return b"".join(self.writes)

    def read(self) -> bytes:
        """What was written since the last call."""
        data = self.written
        self.writes.clear()
        return data

    def feed(self, data: bytes) -> None:
        """The peer's bytes arrive; a protocol that has paused reading must not get any."""
        if self.is_reading_paused or self.is_at_eof or self.is_ending:
            raise AssertionError("bytes for a protocol that does not read")
        self.protocol.data_received(data)

    def feed_eof(self) -> None:
        """The peer half closes; as in asyncio, a falsy answer closes our side once all is written."""
        self.is_at_eof = True
        if not self.is_ending and not self.protocol.eof_received():
            self.close()

    def take(self, size: Optional[int] = None) -> None:
        """The peer reads ``size`` of the bytes that wait in the buffer; None: all."""
        self.buffered -= self.buffered if size is None else size
        if self.is_protocol_paused and self.buffered <= self.low:
            self.is_protocol_paused = False
            self.protocol.resume_writing()
        if self.is_ending and not self.buffered:
            asyncio.get_running_loop().call_soon(self.lose)

    def lose(self, exc: Optional[Exception] = None) -> None:
        """The connection is lost; a second time it is not."""
        self.is_ending = True
        if not self.is_lost:
            self.is_lost = True
            if self.protocol is not None:
                self.protocol.connection_lost(exc)

    # ------------------------------------------------------- what asyncio promises

    def note(self, call: str) -> None:
        if len(self.calls) > 1000:
            raise AssertionError("busy loop")
        self.calls.append(call)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.extra.get(name, default)

    def is_reading(self) -> bool:
        return not self.is_reading_paused and not self.is_ending

    def check_attached(self) -> None:
        if self.is_detached:
            raise AttributeError("'NoneType' object has no attribute 'pause_reading'")

    def pause_reading(self) -> None:
        self.check_attached()
        self.note("pause_reading")
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.check_attached()
        self.note("resume_reading")
        self.is_reading_paused = False

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        self.check_attached()
        self.high = 64 * 1024 if high is None else high
        self.low = self.high // 4 if low is None else low
        self.maybe_pause_protocol()

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self.low, self.high

    def get_write_buffer_size(self) -> int:
        self.check_attached()
        return self.buffered

    def write(self, data: Any) -> None:
        if self.is_refusing:
            raise AssertionError("bytes for a connection that is lost")
        if "write_eof" in self.calls:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or (self.is_ending and not self.buffered):
            return
        self.writes.append(bytes(data))
        if not self.is_peer_reading:
            self.buffered += len(data)
            self.maybe_pause_protocol()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Part by part, and as in CPython 3.12.0 without pausing the protocol (CVE-2024-12254)."""
        for data in list_of_data:
            self.writes.append(bytes(data))
            self.buffered += 0 if self.is_peer_reading else len(data)

    def maybe_pause_protocol(self) -> None:
        if self.buffered > self.high and not self.is_protocol_paused:
            self.is_protocol_paused = True
            self.protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return self.half_close

    def write_eof(self) -> None:
        if not self.half_close:
            raise NotImplementedError
        if self.eof_error is not None:
            raise self.eof_error
        self.note("write_eof")

    def is_closing(self) -> bool:
        return self.is_ending

    def close(self) -> None:
        self.note("close")
        if not self.is_ending:
            self.is_ending = True
            if not self.buffered:
                asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.note("abort")
        self.is_ending = True
        self.buffered = 0
        asyncio.get_running_loop().call_soon(self.lose)


class ManualApp:
    """An application that does nothing itself: the test calls its ``receive`` and ``send``, and ends it."""

    def __init__(self) -> None:
        self.scope: Any = None
        self.receive: Any = None
        self.send: Any = None
        self.is_running = False
        #: How often it was cancelled, and whether it goes on all the same.
        self.cancellations = 0
        self.ignores_cancellation = False
        self.end: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.is_running = True
        try:
            await self.wait_for_end()
        finally:
            self.is_running = False

    async def wait_for_end(self) -> None:
        while True:
            self.end = asyncio.get_running_loop().create_future()
            try:
                await self.end
                return
            except asyncio.CancelledError:
                self.cancellations += 1
                if not self.ignores_cancellation:
                    raise

    async def return_(self) -> None:
        if self.is_running:
            self.end.set_result(None)
        await turn_loop()

    async def raise_(self, error: BaseException) -> None:
        self.end.set_exception(error)
        await turn_loop()


class ServiceTestCase(unittest.IsolatedAsyncioTestCase):
    """One connection of a service under an injected clock; whatever a test does, nothing may be left of it.

    `set_up` makes `service` and `transport` with the configuration given. What
    is logged from INFO on stands in `logged`; a test must look at what is
    logged from WARNING on.
    """

    async def asyncSetUp(self) -> None:
        # unittest's debug mode makes every turn of the loop several times as slow.
        asyncio.get_running_loop().set_debug(False)
        self.clock = Clock()
        self.app = ManualApp()
        self.logged: List[Tuple[str, str]] = []
        self.records: List[logging.LogRecord] = []
        self.tasks: List[asyncio.Task[Any]] = []
        handler = logging.Handler()
        handler.emit = self.record  # type: ignore[method-assign]
        logger = logging.getLogger("wsbridge")
        self.addCleanup(setattr, logger, "propagate", logger.propagate)
        logger.propagate = False
        self.addCleanup(logger.setLevel, logger.level)
        logger.setLevel(logging.DEBUG)
        self.addCleanup(logger.removeHandler, handler)
        logger.addHandler(handler)

    def record(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if record.levelno >= logging.INFO:
            self.logged.append((record.levelname, record.getMessage()))

    def set_up(self, *, state: Any = None, half_close: bool = True, **config: Any) -> None:
        self.service = Service(
            self.app, ServerConfig(**config), state=state, clock=self.clock, date=build_date
        )
        self.transport = MemoryTransport(half_close=half_close)

    async def asyncTearDown(self) -> None:
        if not hasattr(self, "service"):
            return
        self.transport.lose()
        await self.app.return_()
        for task in self.tasks:
            task.cancel()
        await turn_loop()
        self.assertEqual(list(self.service.members), [])
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})
        # A busy machine may hold the loop's own timer up: that is no fault of what is tested.
        wrong = [line for line in self.logged if line[0] not in ("INFO", "DEBUG")]
        self.assertEqual([line for line in wrong if not line[1].startswith("event loop was blocked")], [])

    # ------------------------------------------------------------------- vocabulary

    async def start(self, awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
        """A task of the application, which has got as far as it can."""
        task = asyncio.ensure_future(awaitable)
        self.tasks.append(task)
        await turn_loop()
        return task

    async def advance(self, seconds: float) -> None:
        """Let time pass, and the service look at the clock."""
        self.clock.advance(seconds)
        self.service.sweep()
        await turn_loop()

    def assert_written(self, *writes: bytes) -> None:
        """What was written since the last look, call by call."""
        self.assertEqual(self.transport.writes, list(writes))
        self.transport.writes.clear()

    def assert_logged(self, *lines: Tuple[str, str]) -> None:
        """What was logged from INFO on since the last look."""
        self.assertEqual(self.logged, list(lines))
        self.logged.clear()

    def assert_calls(self, *calls: str) -> None:
        """What was asked of the transport besides writing, since the last look."""
        self.assertEqual(self.transport.calls, list(calls))
        self.transport.calls.clear()
