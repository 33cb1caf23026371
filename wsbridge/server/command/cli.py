"""The server's command line: ``python3 -m wsbridge [module:app] [flags]``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Tuple

from ... import __name__ as PACKAGE
from ...config import ServerConfig
from ...protocols.errors import ConfigError, LifespanFailed
from ..loading import LoadingFailed
from ..logs.failures import format_error_of_application
from ..logs.log import error_logger as logger
from ..logs.output import (
    find_log_format,
    print_error,
    print_traceback,
    reserve_descriptors,
    set_up_logging,
    use_log_format,
)
from ..running import run
from .ending import end_by_interrupt, limit_exit, skip_last_collection
from .environment import Environment, read_environment
from .flags import build_parser

__all__ = ["command", "main"]


def command() -> NoReturn:
    """Run `main`, then end the process, even if threads of the application go on."""
    code: object = 1
    reserve_descriptors()
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    finally:
        end_by_interrupt()
        skip_last_collection()
        limit_exit(code if isinstance(code, int) else int(code is not None))
    sys.exit(code)


def main(arguments: Optional[List[str]] = None, environ: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal; returns 0, 1 if the server could not run, or 2 for wrong arguments.

    A flag comes before the variable of ``environ`` that stands for it. Raises
    SystemExit for ``--help``, ``--version`` and unknown flags, and as `run` does.
    """
    use_log_format(find_log_format(sys.argv[1:] if arguments is None else arguments, environ))
    parser = build_parser()
    flags = parser.parse(arguments)
    environment = Environment({}, {}, [])
    try:
        environment = read_environment(environ)
        target, config = _choose(flags, environment.values)
        set_up_logging(config)
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
    if flags.get("reload"):
        # WEB_CONCURRENCY is set for all programs of a machine. --reload and --workers remain an error.
        values = {name: value for name, value in values.items() if name != "workers"}
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
    print_traceback("application raised", format_error_of_application(error))


def _report(parser: argparse.ArgumentParser, error: Exception, exit_code: int, source: str = "") -> int:
    logger.debug("the error in full", exc_info=True)
    print_error(f"{parser.prog}: error: {error}{source}")
    return exit_code
