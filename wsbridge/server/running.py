"""`run`: a server in an event loop of its own, which goes on whatever an application raises."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Union

from ..asgi.types import Application
from ..config import ServerConfig
from ..protocols.errors import ConfigError
from .arguments import build_config_of_server, split_arguments
from .connection.attribution import find_exchange
from .logs.log import log_raised
from .logs.output import set_up_logging
from .server import Server
from .service import ABORT_TIMEOUT
from .signals import may_be_ctrl_c
from .speed import SPEED

if TYPE_CHECKING:
    # Type checkers bring typing_extensions along; it is not needed at run time.
    from typing_extensions import Unpack

    from .options import ServerArguments

__all__ = ["build_loop", "close_loop", "run", "run_future", "run_server"]


def run(
    app: Union[Application, str], config: Optional[ServerConfig] = None, **options: Unpack[ServerArguments]
) -> None:
    """Serve ``app`` until SIGINT or SIGTERM; see `Server` for the arguments.

    The server runs in an event loop of its own. With more than one worker, or
    ``reload``, it runs in processes of its own, which import ``app``; it must
    then be the text "module:attribute".

    Log lines go to stderr unless another handler prints them. malloc is set to
    keep large freed blocks. What an application raises, SystemExit and
    KeyboardInterrupt included, ends only its own connection. Raises what
    `Server.start` raises, and SystemExit (128 + the signal's number) for a
    signal that came before the application had started, or, without a
    lifespan, before the server listened. Raises SystemExit (1) if applications
    ignored their cancellation when the server stopped, or a worker has not
    stopped as it should.
    """
    config, others = split_arguments(config, options)
    if config.workers > 1 or config.reload:
        # Imported here: where there is one process, nothing of it is needed.
        from .workers.run import run_workers

        run_workers(app, config, **others)
    else:
        server = Server(app, build_config_of_server(config), **others)
        server.is_main = True
        set_up_logging(config)
        run_server(server)


def run_server(server: Server) -> None:
    """`run`, of a server that was made already."""
    SPEED.keep_freed_blocks()
    loop = build_loop(server)
    try:
        asyncio.set_event_loop(loop)
        _serve_in(loop, server)
    finally:
        close_loop(loop)
    if server.startup_signal is not None:
        raise SystemExit(128 + server.startup_signal)
    if server.abandoned:
        raise SystemExit(1)


def build_loop(server: Server) -> asyncio.AbstractEventLoop:
    """The event loop that ``server`` is configured for, by default the fastest; end it with `close_loop`.

    Raises `ConfigError` if it is not installed.
    """
    loop = _BUILDERS[server.config.loop](server)
    loop.set_exception_handler(_report)
    return loop


def _build_fastest(server: Server) -> asyncio.AbstractEventLoop:
    # With TLS all transports are asyncio's: a loop with our own poller would only add a system call.
    return asyncio.new_event_loop() if server.uses_tls else SPEED.new_event_loop()


def _build_asyncio(server: Server) -> asyncio.AbstractEventLoop:
    # As asyncio chooses, but whatever policy is set: that may be uvloop's.
    build: Callable[[], asyncio.AbstractEventLoop] = getattr(
        asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop
    )
    return build()


def _build_uvloop(server: Server) -> asyncio.AbstractEventLoop:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError as error:
        raise ConfigError(f"loop='uvloop': {error}; install uvloop, or leave loop at auto") from error
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_BUILDERS = {"auto": _build_fastest, "asyncio": _build_asyncio, "uvloop": _build_uvloop}


def _serve_in(loop: asyncio.AbstractEventLoop, server: Server) -> None:
    serving = loop.create_task(server.serve())
    try:
        run_future(loop, serving)
    finally:
        # Not done if a KeyboardInterrupt has left the loop: stop the server, as a signal does.
        if not serving.done():
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                run_future(loop, serving)


def run_future(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
    """Run the loop until ``future`` is done. If a task raises out of it, log the error and go on."""
    while True:
        try:
            loop.run_until_complete(future)
            return
        except (KeyboardInterrupt, SystemExit) as error:
            # asyncio lets these two errors out of any task and callback.
            is_own = future.done() and not future.cancelled() and future.exception() is error
            if is_own or may_be_ctrl_c(error):
                raise
            _fail_application(error)


def _fail_application(error: BaseException) -> None:
    # A function of its own: in a local of `run_future` the exchange would be kept until the next such error.
    log_raised("application raised", error)
    exchange = find_exchange(error)
    if exchange is not None:
        exchange.fail_application()


def _report(loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        # asyncio reports a task that nobody has awaited; the same error also leaves the loop.
        log_raised("application raised", error)
    else:
        loop.default_exception_handler(context)


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left in the loop, and close it."""
    # The same as at the end of `asyncio.run`, but tasks that ignore their cancellation and generators that do
    # not close have a limit, and the threads of the default executor are not waited for.
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            run_future(loop, loop.create_task(asyncio.wait(tasks, timeout=ABORT_TIMEOUT)))
        closing = loop.create_task(loop.shutdown_asyncgens())
        run_future(loop, loop.create_task(asyncio.wait([closing], timeout=ABORT_TIMEOUT)))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
