"""The end of a process: exit handlers run, streams are flushed, threads have a limited time to end."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
from typing import Container, List, NoReturn

from ..logs.log import error_logger
from ..logs.output import print_error

__all__ = ["end_by_interrupt", "end_process", "get_exit_code", "limit_exit", "skip_last_collection"]

# Seconds in which the application's threads must end after the server has stopped.
THREAD_TIMEOUT = 1.0


def get_exit_code(end: SystemExit) -> int:
    """The exit code that the interpreter makes of ``end``; a text is printed, and the code is 1."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print_error(str(end.code))
    return 1


def end_process(code: int) -> NoReturn:
    """End a forked process as the interpreter does, but leave its parent's stack as it is."""
    try:
        limit_exit(code)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    finally:
        _flush_streams()
        os._exit(code)


def end_by_interrupt() -> None:
    """Have one more Ctrl-C end the process as SIGTERM does: nobody handles a KeyboardInterrupt any more."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def skip_last_collection() -> None:
    """Spare the interpreter its last searches for garbage, which take seconds with a large application."""
    # PyPy has no `freeze`, and does not search at the end.
    with contextlib.suppress(AttributeError):
        gc.freeze()


def limit_exit(code: int) -> None:
    """Limit the interpreter's wait for threads at its end to `THREAD_TIMEOUT`."""
    are_over = threading.Event()
    # Exit handlers run after the last thread has ended, the one registered last before the others.
    atexit.register(are_over.set)
    threading.Thread(target=_end_without_threads, args=(are_over, code), daemon=True).start()


def _end_without_threads(are_over: threading.Event, code: int) -> None:
    left: List[str] = []
    while not left:
        if are_over.wait(THREAD_TIMEOUT):
            return
        left = [thread.name for thread in threading.enumerate() if _is_waited_for(thread)]
    try:
        error_logger.warning("ended without waiting for threads: %s", ", ".join(left))
        atexit._run_exitfuncs()
    finally:
        _flush_streams()
        os._exit(code)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A stream may be None, closed, or a broken pipe.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _is_waited_for(thread: threading.Thread) -> bool:
    if thread is threading.main_thread():
        return False
    return not thread.daemon or any(thread in threads for threads in _list_pools())


def _list_pools() -> List[Container[threading.Thread]]:
    """The threads for which `concurrent.futures` waits at exit, even if they are daemons."""
    pools = (("thread", "_threads_queues"), ("process", "_threads_wakeups"))
    modules = [(sys.modules.get(f"concurrent.futures.{module}"), name) for module, name in pools]
    return [getattr(module, name, ()) for module, name in modules]
