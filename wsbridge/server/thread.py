"""`run_in_thread`: a server in a thread of its own, for a program whose own thread does something else."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Dict, List, Optional, Union

from ..asgi.types import Application
from ..config import ServerConfig
from ..protocols.errors import StateError
from .connection.info import ConnectionInfo
from .running import build_loop, close_loop, run_future
from .server import Server
from .service import ABORT_TIMEOUT

if TYPE_CHECKING:
    from concurrent.futures import Future

    # Type checkers bring typing_extensions along; it is not needed at run time.
    from typing_extensions import Unpack

    from .options import ServerArguments

__all__ = ["ThreadedServer", "run_in_thread"]

# Seconds in which the thread ends once all is aborted: `ABORT_TIMEOUT` for each of the applications, the
# lifespan, other tasks and generators, which may ignore their cancellation, and one for a busy machine.
END_TIMEOUT = 4 * ABORT_TIMEOUT + 1


def run_in_thread(
    app: Union[Application, str], config: Optional[ServerConfig] = None, **options: Unpack[ServerArguments]
) -> ThreadedServer:
    """Serve ``app`` in a thread with an event loop of its own; see `Server` for the arguments.

    Returns once the server listens. ``with run_in_thread(app, port=0) as
    server:`` closes it at the end of the block; without ``with``, call
    `ThreadedServer.close`.

    The process is left as it is: no signal handler, no logging handler, no
    event loop policy is set. The thread is a daemon, so that a program that
    forgets to close the server can end. What the application raises,
    SystemExit and KeyboardInterrupt included, ends only its own connection.

    Raises, in the thread of the caller, what `Server` and `Server.start` raise.
    """
    return ThreadedServer(Server(app, config, **options))


class ThreadedServer:
    """A server that listens in its own thread; made by `run_in_thread`.

    ``loop`` is the event loop in which the application runs: other threads
    call ``asyncio.run_coroutine_threadsafe(coroutine, server.loop)``. ``urls``
    are those of `Server.urls`. Every method may be called from any thread
    but the server's own, each property from all.
    """

    def __init__(self, server: Server) -> None:
        self.loop = build_loop(server)
        self._server = server
        self._end = self.loop.create_future()
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="wsbridge", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(server.start(), self.loop)
        try:
            starting.result()
        except BaseException:
            # A KeyboardInterrupt may have ended the wait.
            starting.cancel()
            self.close()
            raise
        self.urls: List[str] = server.urls

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            run_future(self.loop, self._end)
        finally:
            close_loop(self.loop)

    @property
    def connections(self) -> List[ConnectionInfo]:
        """The connections of `Server.connections`; their attributes may be read from any thread."""
        return self._server.connections

    @property
    def metrics(self) -> Dict[str, float]:
        """The values of `Server.metrics`."""
        return self._server.metrics

    @property
    def metrics_text(self) -> str:
        """The text of `Server.metrics_text`."""
        return self._server.metrics_text

    def reload_certificates(self) -> bool:
        """`Server.reload_certificates`."""
        return self._server.reload_certificates()

    def close(self, timeout: Optional[float] = None) -> None:
        """Stop the server as `Server.stop` does, and wait until its thread has ended.

        What is left after ``timeout`` seconds is aborted. None stands for the
        server's own ``timeout_graceful_shutdown`` and
        ``timeout_lifespan_shutdown``. Closing a server twice is no error, and
        the first call decides on the time.

        Raises `LifespanFailed` if the application's shutdown fails,
        `TimeoutError` if the thread does not end because the application
        blocks its event loop, and `StateError` in the server's own thread.
        """
        if threading.current_thread() is self._thread:
            raise StateError(
                "close() waits for the thread that it was called in; from the application, "
                "await asyncio.to_thread(server.close) in a task of its own, or call it in another thread"
            )
        timeout = self._get_longest_stop() if timeout is None else timeout
        patience = None if timeout is None else timeout + END_TIMEOUT
        with self._lock:
            stopping: Optional[Future[None]] = None
            if not self._is_closed:
                self._is_closed = True
                stopping = asyncio.run_coroutine_threadsafe(self._stop(timeout), self.loop)
            self._thread.join(patience)
            if self._thread.is_alive():
                raise TimeoutError(
                    "the server's thread goes on: the application blocks its event loop; run what takes long "
                    "in another thread, such as by asyncio.to_thread"
                )
            if stopping is not None:
                stopping.result()

    def _get_longest_stop(self) -> Optional[float]:
        config = self._server.config
        connections, lifespan = config.timeout_graceful_shutdown, config.timeout_lifespan_shutdown
        return None if connections is None or lifespan is None else connections + lifespan + END_TIMEOUT

    async def _stop(self, timeout: Optional[float]) -> None:
        """Stop the server, and let the thread end. `Server.stop` aborts what is left when it is cancelled."""
        try:
            stopping = self.loop.create_task(self._server.stop())
            await asyncio.wait([stopping], timeout=timeout)
            stopping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stopping
        finally:
            self._end.set_result(None)

    def __enter__(self) -> ThreadedServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
