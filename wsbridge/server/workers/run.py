"""`run_workers`: `run`, where the application is served by processes of its own."""

from __future__ import annotations

import mmap
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

from ...asgi.types import Application
from ...config import MAX_WORKERS, ServerConfig
from ...protocols.errors import ConfigError
from ..arguments import build_config_of_server, check_sockets, check_ssl_context
from ..logs.output import set_up_logging
from ..metrics.slot import MetricsSlot, get_slots_size
from .processes import CAN_FORK, Ends, Processes
from .reloading import ReloadingSupervisor, build_hasty_config
from .sockets import WorkerSockets
from .supervisor import Seat, Supervisor
from .watching import WatchedFiles
from .worker import run_worker

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext

__all__ = ["run_workers"]


def run_workers(
    app: Union[Application, str],
    config: ServerConfig,
    *,
    sockets: Optional[Sequence[socket]] = None,
    ssl_context: Optional[SSLContext] = None,
) -> None:
    """Serve ``app`` in ``workers`` processes, or in one that ``reload`` starts again, until a signal."""
    target = _check_target(app, config)
    if sockets is not None:
        check_sockets(sockets, config)
    check_ssl_context(ssl_context, config)
    files = WatchedFiles(config) if config.reload else None
    set_up_logging(config)
    # Takes no memory before it is written, which workers do if there is a ``metrics_path``.
    metrics = mmap.mmap(-1, get_slots_size(MAX_WORKERS))
    of_worker = replace(build_config_of_server(config), workers=1)
    if files is not None:
        of_worker = build_hasty_config(of_worker)

    def work(seat: Seat, ends: Ends) -> int:
        all_sockets.keep_those_of_worker(seat.sockets)
        slot = MetricsSlot(metrics, seat.number)
        is_first = seat.number == 1 and seat.starts == 1
        return run_worker(target, of_worker, ends, seat.sockets, ssl_context, slot, warns=is_first)

    with WorkerSockets(config, sockets) as all_sockets, Processes() as processes:
        scheme = "http" if ssl_context is None and config.ssl_certfile is None else "https"
        if files is None:
            supervisor = Supervisor(config, all_sockets, work, processes, scheme)
        else:
            supervisor = ReloadingSupervisor(of_worker, all_sockets, work, processes, scheme, files=files)
        supervisor.run()


def _check_target(app: Any, config: ServerConfig) -> str:
    """The application as text; `ConfigError` if workers cannot import it, or cannot be made."""
    option = "reload" if config.reload else f"workers={config.workers}"
    if not isinstance(app, str):
        raise ConfigError(
            f"{option}: each process imports the application, which must therefore be given as the text "
            f"'module:attribute', not {app!r:.80}"
        )
    if not CAN_FORK:
        way_out = (
            "start one process for each, on ports of their own, behind a proxy that shares the connections"
        )
        if config.reload:
            way_out = "the command of watchfiles can start the server again"
        raise ConfigError(f"{option}: this system cannot fork; {way_out}")
    return app
