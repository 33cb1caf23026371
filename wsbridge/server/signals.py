"""The signals that end servers: each reaches all servers of the process, then the program's own handler."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Set

__all__ = ["SIGHUP", "are_signals_caught", "catch_signals", "may_be_ctrl_c"]

# Ctrl-Break is how Windows asks a process group to end.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))

# Caught only where they would end the process: `nohup` ignores SIGHUP, and a host may have its own use for
# it. nginx stops gracefully on SIGQUIT, too.
ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGQUIT") if hasattr(signal, name))

# None on Windows.
SIGHUP = getattr(signal, "SIGHUP", None)

# On Windows a signal does not interrupt `select`, and Python calls its handler only after `select` has
# returned: wake the loop every `TICK` seconds.
SELECT_IGNORES_SIGNALS = sys.platform == "win32"
TICK = 0.25


class _Server(NamedTuple):
    loop: asyncio.AbstractEventLoop
    callback: Callable[[int], None]
    is_stopping: Callable[[], bool]


# Signal handlers belong to the process, and so does this state: the servers that catch signals, the handlers
# that were set before the first of them, and the signals that have come since.
_servers: List[_Server] = []
_previous: Dict[int, Any] = {}
_received: Set[int] = set()


@contextlib.contextmanager
def catch_signals(
    callback: Callable[[int], None], *, is_stopping: Callable[[], bool] = bool, reloads: bool = False
) -> Iterator[None]:
    """Call ``callback`` in the running loop with every signal; only the main thread catches any.

    The signals are SIGINT and SIGTERM, and SIGHUP and SIGQUIT where nobody
    handles or ignores them; with ``reloads``, SIGHUP also where it is ignored, as
    it ends nothing then.

    An application can ask whether its server stops: ``should_exit`` of the object
    whose method handles SIGTERM is true once ``is_stopping`` is, of all servers.

    If several servers run, the callbacks of all are called. When the last one
    ends, the previous handlers are restored, and those of the program are
    called with the signals that have come meanwhile.
    """
    loop = asyncio.get_running_loop()
    try:
        _install(reloads)
    except ValueError:
        # Another thread or a subinterpreter, where Python allows no signal handlers.
        yield
        return
    server = _Server(loop, callback, is_stopping)
    _servers.append(server)
    if SELECT_IGNORES_SIGNALS and isinstance(loop, asyncio.SelectorEventLoop):
        _tick(loop, server)
    try:
        yield
    finally:
        _servers.remove(server)
        if not _servers:
            _restore_handlers()


def are_signals_caught() -> bool:
    """Whether SIGINT has our handler, so that Ctrl-C neither raises nor calls the program's handler."""
    return signal.getsignal(signal.SIGINT) is _note_signal


def may_be_ctrl_c(error: BaseException) -> bool:
    """Whether ``error`` may be a Ctrl-C, which Python raises in the main thread if SIGINT is not caught."""
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and is_main and not are_signals_caught()


def _install(reloads: bool) -> None:
    if threading.current_thread() is not threading.main_thread():
        # `signal.signal` would raise, but is not called if the main thread has set our handlers already.
        raise ValueError("only the main thread handles signals")
    for number in (*SIGNALS, *ENDING_SIGNALS):
        handler = signal.getsignal(number)
        is_harmless = reloads and number == SIGHUP and handler is signal.SIG_IGN
        if number in ENDING_SIGNALS and handler is not signal.SIG_DFL and not is_harmless:
            continue
        # None: the handler was not set by Python, so it could not be restored.
        if handler not in (None, _note_signal):
            _previous[number] = signal.signal(number, _note_signal)


class _Handler:
    """Handles all signals. Applications find it by ``signal.getsignal(signal.SIGTERM).__self__``."""

    def note_signal(self, number: int, frame: object) -> None:
        # The program may be interrupted anywhere: call back in the next turns of the loops.
        _received.add(number)
        for server in tuple(_servers):
            if not server.loop.is_closed():
                server.loop.call_soon_threadsafe(server.callback, number)

    # The name is that of uvicorn's server: by it sse-starlette ends its responses, which have no other end.
    @property
    def should_exit(self) -> bool:
        return all(server.is_stopping() for server in tuple(_servers))


# Each access to a bound method makes another object: the handlers are compared by `is`.
_note_signal = _Handler().note_signal


def _restore_handlers() -> None:
    missed = [number for number in _received if _is_of_program(_previous.get(number))]
    for number, handler in _previous.items():
        # A handler that was set meanwhile stays.
        if signal.getsignal(number) is _note_signal:
            signal.signal(number, handler)
    _previous.clear()
    _received.clear()
    for number in missed:
        signal.raise_signal(number)


def _is_of_program(handler: Any) -> bool:
    # Handlers set by a loop's `add_signal_handler` are not called again: the loop has called them through its
    # pipe. The handler of `asyncio.run` is not called either: it would cancel a task that has just ended.
    module = getattr(getattr(handler, "func", handler), "__module__", None) or ""
    is_of_loop = module.partition(".")[0] in ("asyncio", "uvloop")
    return callable(handler) and handler is not signal.default_int_handler and not is_of_loop


def _tick(loop: asyncio.AbstractEventLoop, server: object) -> None:
    if server in _servers:
        loop.call_later(TICK, _tick, loop, server)
