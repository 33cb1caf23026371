"""Listening sockets: opened, owned and closed.

`open_sockets` needs no event loop, so that a process can open the sockets
which other processes inherit. `ListeningSockets` serves on them in a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ...config import ServerConfig
from ...protocols.errors import ConfigError
from ..connection.head import Connection
from ..connection.secured import SecuredConnection
from ..plain import Listener
from ..service import Service
from ..speed import SPEED
from .inherited import inherit_socket, take_systemd_sockets
from .tls_listener import NO_LIMIT, TlsListener
from .unix_socket import identify, listen_on_path, remove_path

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["ListeningSockets", "build_urls", "open_sockets"]

# None where the system has no unix sockets.
AF_UNIX = getattr(socket, "AF_UNIX", None)

# On Windows SO_REUSEADDR lets two servers listen on one port; elsewhere it lets a server start again while
# connections of the last one are in TIME_WAIT.
REUSES_ADDRESS = os.name == "posix" and sys.platform != "cygwin"

# A host has several addresses, and the system may have switched off the family of one.
FAMILY_IS_OFF = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

# With port 0 all addresses get one port: how often the system may choose one that another address lacks.
PORT_ATTEMPTS = 10

# What `getaddrinfo` returns for each address of a host.
Found = Sequence[Tuple[Any, Any, int, str, Any]]


def open_sockets(config: ServerConfig, *, use_systemd: bool = True) -> List[socket.socket]:
    """Open the sockets that ``config`` describes: bound, listening and not blocking, for its caller to close.

    Sockets that systemd has opened for this process are taken in their place if
    ``use_systemd``, see `take_systemd_sockets`. Blocks while a host name is
    resolved. Raises `ConfigError` for a malformed address or a descriptor that
    cannot listen, and `OSError` if the server cannot listen on the address. The
    path of a unix socket stays behind when the socket is closed: note what
    `unix_socket.identify` returns for it, and call `unix_socket.remove_path`.
    """
    hosts = []
    opened = _open_without_hosts(config, use_systemd=use_systemd)
    if opened:
        return opened
    for host in _list_hosts(config):
        with _naming(host):
            found = _look_up(host, config.port)
            hosts.append(found or socket.getaddrinfo(host, config.port, type=socket.SOCK_STREAM))
    return _listen_on_tcp(config, hosts)


async def _open_in_loop(config: ServerConfig, *, use_systemd: bool) -> List[socket.socket]:
    """`open_sockets`, which does not block while a host name is resolved."""
    loop = asyncio.get_running_loop()
    hosts = []
    opened = _open_without_hosts(config, use_systemd=use_systemd)
    if opened:
        return opened
    for host in _list_hosts(config):
        with _naming(host):
            found = _look_up(host, config.port)
            hosts.append(found or await loop.getaddrinfo(host, config.port, type=socket.SOCK_STREAM))
    return _listen_on_tcp(config, hosts)


def _open_without_hosts(config: ServerConfig, *, use_systemd: bool) -> List[socket.socket]:
    """The sockets, where they are not those of ``host`` and ``port``."""
    opened = take_systemd_sockets(config) if use_systemd else []
    if config.uds is not None:
        with _naming(config.uds):
            opened = [listen_on_path(config.uds, config.uds_mode, config.backlog)]
    elif config.fd is not None:
        opened = [inherit_socket(config.fd, f"fd={config.fd}")]
    with contextlib.ExitStack() as closing:
        for listening in opened:
            closing.enter_context(listening)
            listening.setblocking(False)
            listening.listen(config.backlog)
        closing.pop_all()
    return opened


def _list_hosts(config: ServerConfig) -> List[str]:
    """The hosts of ``config``; an empty one stands for every address."""
    hosts = [host.strip() for host in config.host.split(",")]
    # As in a URL, an IPv6 address may have brackets.
    hosts = [host[1:-1] if host.startswith("[") and host.endswith("]") else host for host in hosts]
    return ["" if host == "*" else host for host in hosts]


def _look_up(host: str, port: int) -> Found:
    """The addresses of a host that is no name, which would have to be resolved."""
    # Without a host and with AI_PASSIVE these are the addresses that stand for all.
    flags = socket.AI_PASSIVE | socket.AI_NUMERICHOST
    try:
        return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        return []


@contextlib.contextmanager
def _naming(address: str) -> Iterator[None]:
    """Have errors name the host or path."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        # The path has a NUL, or IDNA cannot encode the host.
        raise ConfigError(f"cannot listen on {address!r}: {error}") from error
    except OSError as error:
        if error.strerror is not None and address not in str(error):
            error.filename = address
        raise


def _listen_on_tcp(config: ServerConfig, hosts: Sequence[Found]) -> List[socket.socket]:
    """Listen on every address of ``hosts``, or on none; for port 0 on the same port of each."""
    for _ in range(PORT_ATTEMPTS - 1 if config.port == 0 else 0):
        try:
            return _try_to_listen(config, hosts)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _try_to_listen(config, hosts)


def _try_to_listen(config: ServerConfig, hosts: Sequence[Found]) -> List[socket.socket]:
    addresses: Dict[Tuple[int, Any], socket.socket] = {}
    port = config.port
    with contextlib.ExitStack() as closing:
        for found in hosts:
            skipped: List[OSError] = []
            for family, _, _, _, address in found:
                if (family, address) in addresses:
                    # Two hosts have it, such as localhost and 127.0.0.1.
                    continue
                try:
                    listening = _listen_on(family, (address[0], port, *address[2:]), config)
                except OSError as error:
                    skipped.append(error)
                    # The error of a host's only address, and any of another kind.
                    if len(skipped) == len(found) or error.errno not in FAMILY_IS_OFF:
                        raise
                else:
                    addresses[family, address] = closing.enter_context(listening)
                    port = listening.getsockname()[1]
        closing.pop_all()
    return list(addresses.values())


def _listen_on(family: int, address: Any, config: ServerConfig) -> socket.socket:
    with contextlib.ExitStack() as closing:
        listening = closing.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listening.setblocking(False)
        if REUSES_ADDRESS:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if config.reuse_port:
            _share_port(listening)
        if family == socket.AF_INET6:
            # The same on every system: "::" stands for IPv6 alone, so that "0.0.0.0,::" is both, and the
            # address of an IPv4 client is never written in that of IPv6.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listening.bind(address)
        except OSError as error:
            reason = str(error.strerror).lower()
            text = f"error while attempting to bind on address {address!r}: {reason}"
            raise OSError(error.errno, text) from None
        listening.listen(config.backlog)
        closing.pop_all()
    return listening


def _share_port(listening: socket.socket) -> None:
    # Some systems have a name for it and no support.
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except (AttributeError, OSError):
        raise ConfigError("reuse_port is set, but this system has no SO_REUSEPORT") from None


class _FixedBacklogSocket(socket.socket):
    """Listens with ``backlog``, whatever its caller asks for.

    asyncio accepts up to its own backlog in a row, and reports an error for
    each when no descriptor is left: it gets 1. The kernel must not have that,
    not even for a moment: on a socket that other processes accept on, clients
    would wait a second for their next attempt.
    """

    backlog: Optional[int] = None

    def listen(self, backlog: int = 1) -> None:
        super().listen(self.backlog or backlog)


class ListeningSockets:
    """The sockets on which a server accepts connections.

    ``given`` are sockets of the caller's, of which duplicates are used; if it
    is empty, `open_sockets` opens those of ``config``.
    """

    def __init__(self, config: ServerConfig, given: Sequence[socket.socket]) -> None:
        self._config = config
        self._given = given
        self._servers: List[asyncio.AbstractServer] = []
        self._listeners: List[Listener] = []
        self._path_identity: Optional[Tuple[int, int]] = None

    async def open(self, service: Service, ssl: Optional[SSLContext], *, use_systemd: bool) -> None:
        """Listen, and accept connections for ``service``; `close` what is open if this raises.

        Sockets that systemd has opened are taken only if ``use_systemd``.
        Raises what `open_sockets` raises.
        """
        waiting: List[socket.socket] = []
        try:
            for given in self._given:
                waiting.append(self._fix_backlog(given.dup()))
            if not self._given:
                opened = await _open_in_loop(self._config, use_systemd=use_systemd)
                waiting.extend(map(self._fix_backlog, opened))
                if self._config.uds is not None:
                    self._path_identity = identify(self._config.uds)
            while waiting:
                await self._accept_on(waiting[0], service, ssl)
                del waiting[0]
        finally:
            for left in waiting:
                left.close()

    def _fix_backlog(self, opened: socket.socket) -> socket.socket:
        fixed = _FixedBacklogSocket(opened.family, opened.type, opened.proto, opened.detach())
        fixed.backlog = self._config.backlog
        fixed.setblocking(False)
        if fixed.family in (socket.AF_INET, socket.AF_INET6):
            # Accepted sockets inherit it. asyncio would set it only where `proto` is IPPROTO_TCP, and that of
            # a TCP socket is 0 as well.
            fixed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return fixed

    async def _accept_on(self, listening: socket.socket, service: Service, ssl: Optional[SSLContext]) -> None:
        loop = asyncio.get_running_loop()
        config = self._config
        options: Dict[str, Any] = {"backlog": 1, "start_serving": False}
        if ssl is not None and not config.proxy_protocol:
            options["ssl"] = ssl
            # The TLS handshake is part of timeout_handshake.
            options["ssl_handshake_timeout"] = config.timeout_handshake or NO_LIMIT
        server = await loop.create_server(_find_factory(service, ssl), sock=listening, **options)
        try:
            build_listener = _find_listener(loop, config, ssl)
            # uvloop listens in a way of its own, and only with the backlog that it is given.
            if build_listener is None:
                await server.start_serving()
            listening.listen()
            if build_listener is not None:
                self._listeners.append(build_listener(service, listening))
        except BaseException:
            server.close()
            raise
        # It closes the socket from now on.
        self._servers.append(server)

    def close(self) -> None:
        """Stop listening, and remove the path of a unix socket that `open` has made."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._config.uds is not None:
            remove_path(self._config.uds, self._path_identity)
            self._path_identity = None

    @property
    def sockets(self) -> List[Any]:
        """The sockets; none while nobody listens."""
        return [bound for server in self._servers for bound in getattr(server, "sockets", ())]

    def build_urls(self, scheme: str) -> List[str]:
        """The URL of each socket; ``unix:PATH`` for a unix socket."""
        return build_urls(scheme, self.sockets)

    @property
    def hosts(self) -> List[str]:
        """The addresses of the TCP sockets."""
        return [bound.getsockname()[0] for bound in self.sockets if bound.family != AF_UNIX]


def build_urls(scheme: str, sockets: Sequence[Any]) -> List[str]:
    """The URL of each socket; ``unix:PATH`` for a unix socket."""
    return [_build_url(scheme, bound) for bound in sockets]


def _find_factory(service: Service, ssl: Optional[SSLContext]) -> Callable[[], Connection]:
    if ssl is not None and service.config.proxy_protocol:
        return functools.partial(SecuredConnection, service, ssl)
    return functools.partial(Connection, service)


def _find_listener(
    loop: asyncio.AbstractEventLoop, config: ServerConfig, ssl: Optional[SSLContext]
) -> Optional[Callable[[Service, socket.socket], Listener]]:
    """A factory of listeners; None if asyncio's own server accepts."""
    if ssl is None:
        return SPEED.find_listener(loop)
    # The loop of Windows does not watch sockets.
    if config.proxy_protocol or isinstance(loop, getattr(asyncio, "ProactorEventLoop", ())):
        return None
    return functools.partial(TlsListener, ssl)


def _build_url(scheme: str, bound: Any) -> str:
    name = bound.getsockname()
    if bound.family == AF_UNIX:
        # Linux: the name of an abstract socket begins with a NUL, which tools write as "@".
        return f"unix:{os.fsdecode(name)}".replace("\0", "@")
    host, port = name[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
