"""The arguments of a server, checked before anything is started."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from ..asgi.types import Application
from ..config import ServerConfig
from ..protocols.errors import ConfigError
from .loading import call_factory, check_takes_events, load_application

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = [
    "build_config",
    "build_config_of_server",
    "check_application",
    "check_is_one_process",
    "check_loop",
    "check_socket",
    "check_sockets",
    "check_ssl_context",
    "split_arguments",
]

FAMILIES = tuple(
    getattr(socket, name) for name in ("AF_INET", "AF_INET6", "AF_UNIX") if hasattr(socket, name)
)

# Options that change the logging of the whole process: only the program that owns the process may set them.
PROCESS_WIDE = ("log_format", "log_config")


def check_application(app: Union[Application, str], config: ServerConfig) -> Application:
    """The application itself, the one that ``"module:attribute"`` names, or what a factory returns.

    Raises `TypeError` for what cannot be called, and what `load_application` raises.
    """
    if isinstance(app, str):
        return load_application(app, config.app_dir, factory=config.factory)
    if not callable(app):
        raise TypeError(f"app must be an ASGI application or 'module:attribute', not {app!r:.80}")
    name = f"{app!r:.80}"
    if config.factory:
        return call_factory(app, name)
    check_takes_events(app, name)
    return app


def build_config(config: Optional[ServerConfig], options: Mapping[str, Any]) -> ServerConfig:
    """``config``, or the defaults, with ``options`` in place of its fields.

    Raises `TypeError` for another object or an unknown option, and
    `ConfigError` for a value that breaks its rule.
    """
    config = ServerConfig() if config is None else config
    if not isinstance(config, ServerConfig):
        raise TypeError(
            f"config must be a ServerConfig, not {config!r:.80}; options are given by keyword, such as port=0"
        )
    names = [field.name for field in fields(config)]
    for name in options:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else "ServerConfig lists the options"
            raise TypeError(f"there is no option {name!r}: {hint}")
    return replace(config, **options)


def check_is_one_process(config: ServerConfig) -> None:
    """Raise `ConfigError` for options that only `run` can follow."""
    if config.workers > 1:
        raise ConfigError(
            f"workers={config.workers}: a Server is one process; run() and the command line start several"
        )
    if config.reload:
        raise ConfigError("reload: a Server cannot start again; run() and the command line can")
    for name in PROCESS_WIDE:
        value = getattr(config, name)
        if value != getattr(ServerConfig, name):
            raise ConfigError(
                f"{name}={value!r:.80}: a Server sets up no logging; run() and the command line do, and a "
                "program of its own calls logging.config"
            )


def check_loop(config: ServerConfig, loop: asyncio.AbstractEventLoop) -> None:
    """Raise `ConfigError` if ``loop``, in which a server starts, is not the one that is configured."""
    is_uvloop = type(loop).__module__.partition(".")[0] == "uvloop"
    if config.loop != "auto" and is_uvloop != (config.loop == "uvloop"):
        raise ConfigError(
            f"loop={config.loop!r}: a Server runs in the event loop of its program, here one of "
            f"{type(loop).__module__}; run() and the command line make their own"
        )


def build_config_of_server(config: ServerConfig) -> ServerConfig:
    """The configuration of the one `Server` of a process whose logging is set up already."""
    return replace(config, **{name: getattr(ServerConfig, name) for name in PROCESS_WIDE})


def split_arguments(
    config: Optional[ServerConfig], arguments: Mapping[str, Any]
) -> Tuple[ServerConfig, Dict[str, Any]]:
    """The configuration, and those keyword arguments of `Server` that are no options."""
    names = ("sockets", "ssl_context")
    others = {name: arguments[name] for name in names if name in arguments}
    return build_config(config, {name: arguments[name] for name in arguments if name not in names}), others


def check_sockets(sockets: Optional[Sequence[socket.socket]], config: ServerConfig) -> List[socket.socket]:
    """The sockets to listen on, each bound; an empty list if there are none, and the server binds its own.

    Raises `TypeError` for what is no socket, `ConfigError` for one that cannot listen.
    """
    if sockets is None:
        return []
    if isinstance(sockets, socket.socket) or not all(isinstance(given, socket.socket) for given in sockets):
        raise TypeError(f"sockets must be a list of socket.socket, not {sockets!r:.80}")
    if not sockets:
        raise ConfigError("sockets=[]: at least one is needed; leave sockets out to listen on host and port")
    for name in ("uds", "fd"):
        value = getattr(config, name)
        if value is not None:
            raise ConfigError(f"sockets and {name}={value!r}: give one of them")
    for given in sockets:
        check_socket(given, repr(given))
    return list(sockets)


def check_socket(given: socket.socket, name: str) -> None:
    """Raise `ConfigError`, which begins with ``name``, for a socket that cannot listen."""
    if given.type != socket.SOCK_STREAM or given.family not in FAMILIES:
        raise ConfigError(f"{name}: it must be a stream socket of TCP or a unix socket")
    if given.getsockname() in (("0.0.0.0", 0), ("::", 0, 0, 0), ""):
        raise ConfigError(f"{name}: it must be bound to an address; call its bind() first")


def check_ssl_context(ssl_context: Optional[SSLContext], config: ServerConfig) -> Optional[SSLContext]:
    """The context as it is; `TypeError` for another object, `ConfigError` for one that cannot serve."""
    if ssl_context is None:
        return None
    if not hasattr(ssl_context, "wrap_bio"):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {ssl_context!r:.80}")
    if config.ssl_certfile is not None:
        raise ConfigError(f"ssl_context and ssl_certfile={config.ssl_certfile!r}: give one of them")
    # By name, because ssl may be missing; before Python 3.10 `create_default_context` sets only the former.
    if ssl_context.check_hostname or ssl_context.protocol.name == "PROTOCOL_TLS_CLIENT":
        raise ConfigError(
            "ssl_context is one for clients: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) makes one "
            "for servers"
        )
    return ssl_context
