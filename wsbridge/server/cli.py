"""The server's command line: ``python3 -m wsbridge [module:app] [flags]``."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Container, Dict, List, Mapping, NoReturn, Optional, Tuple

from .. import __name__ as PACKAGE
from ..config import ServerConfig
from ..protocols.errors import ConfigError, LifespanFailed
from .environment import Environment, read_environment
from .flags import build_parser
from .loading import LoadingFailed
from .log import error_logger as logger
from .log_output import set_up_logging
from .running import run

__all__ = ["command", "main"]

# Seconds in which the application's threads must end after the server has stopped.
THREAD_TIMEOUT = 1.0


def command() -> NoReturn:
    """Run `main`, then end the process, even if threads of the application go on."""
    code: object = 1
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    finally:
        _limit_exit(code if isinstance(code, int) else int(code is not None))
    sys.exit(code)


def _limit_exit(code: int) -> None:
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
        logger.warning("ended without waiting for threads: %s", ", ".join(left))
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            # A stream may be None, closed, or a broken pipe.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(code)


def _is_waited_for(thread: threading.Thread) -> bool:
    if thread is threading.main_thread():
        return False
    return not thread.daemon or any(thread in threads for threads in _list_pools())


def _list_pools() -> List[Container[threading.Thread]]:
    """The threads for which `concurrent.futures` waits at exit, even if they are daemons."""
    pools = (("thread", "_threads_queues"), ("process", "_threads_wakeups"))
    modules = [(sys.modules.get(f"concurrent.futures.{module}"), name) for module, name in pools]
    return [getattr(module, name, ()) for module, name in modules]


def main(arguments: Optional[List[str]] = None, environ: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal; returns 0, 1 if the server could not run, or 2 for wrong arguments.

    A flag comes before the variable of ``environ`` that stands for it. Raises
    SystemExit for ``--help``, ``--version`` and unknown flags, and as `run` does.
    """
    parser = build_parser()
    flags = parser.parse(arguments)
    environment = Environment({}, {}, [])
    try:
        environment = read_environment(environ)
        target, config = _choose(flags, environment.values)
        set_up_logging(config.log_level)
        for line in environment.unknown:
            logger.warning("%s", line)
        run(target, config)
    except LoadingFailed as error:
        _print_error_of_application(error.__cause__)
        return _report(parser, error, 2)
    except ConfigError as error:
        return _report(parser, error, 2, _name_source(error, flags, environment))
    except LifespanFailed as error:
        _print_error_of_application(error.__cause__)
        return _report(parser, error, 1)
    except OSError as error:
        return _report(parser, error, 1)
    except KeyboardInterrupt:
        # Only while the application is imported: later the server handles SIGINT.
        return 130
    return 0


def _choose(flags: Dict[str, Any], values: Dict[str, Any]) -> Tuple[str, ServerConfig]:
    """The application that is asked for, and the configuration."""
    is_demo = flags.pop("demo", False)
    if is_demo and "app" in flags:
        raise ConfigError(f"--demo and {flags['app']}: give one of them")
    values = {**values, **flags}
    if is_demo or not values:
        # Pages of other sites must not open the demo's WebSocket in their visitors' browsers.
        values = {
            "allowed_origins": ("same-origin",),
            **values,
            "app": f"{PACKAGE}.demo.app:app",
            "factory": False,
        }
    target = values.pop("app", None)
    if target is None:
        raise ConfigError("an application is missing: name it as module:app, or serve the demo with --demo")
    return target, ServerConfig(**values)


def _name_source(error: ConfigError, flags: Dict[str, Any], environment: Environment) -> str:
    """Which variable, if it is one, has set the field with which the error's text begins."""
    for field, variable in environment.variables.items():
        if field not in flags and re.match(rf"{field}\b", str(error)):
            return f" (set by {variable})"
    return ""


def _print_error_of_application(error: Optional[BaseException]) -> None:
    """Print the traceback of an error in the application, without our own frames; nothing if it never ran."""
    frames = None if error is None else _skip_other_frames(error.__traceback__)
    if error is not None and (frames is not None or isinstance(error, SyntaxError)):
        traceback.print_exception(type(error), error, frames)


def _skip_other_frames(frames: Optional[TracebackType]) -> Optional[TracebackType]:
    """Drop our own frames, and those of the import system, from the start of a traceback."""
    while frames is not None:
        module = str(frames.tb_frame.f_globals.get("__name__"))
        if not module.startswith((f"{PACKAGE}.server.", f"{PACKAGE}.asgi.", "importlib", "zipimport")):
            break
        frames = frames.tb_next
    return frames


def _report(parser: argparse.ArgumentParser, error: Exception, exit_code: int, source: str = "") -> int:
    logger.debug("the error in full", exc_info=True)
    print(f"{parser.prog}: error: {error}{source}", file=sys.stderr)
    return exit_code
