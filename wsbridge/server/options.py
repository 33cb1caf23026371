"""The keyword arguments of `Server`, `serve`, `run` and `run_in_thread`, for type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence, Tuple, TypedDict

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext

__all__ = ["ServerArguments", "ServerOptions"]


class ServerOptions(TypedDict, total=False):
    """The fields of `ServerConfig`, each of which may be left out.

    The texts are those of `ServerConfig`, which editors do not see there.
    """

    host: str
    """address or name to listen on, or several, separated by commas; '*' or empty for every address; by
    default only this host reaches it
    """
    port: int
    """port to listen on; 0: any free port, the same for every host"""
    uds: Optional[str]
    """path of a unix socket to listen on instead"""
    uds_mode: int
    """permissions of the unix socket, octal; by default any local user can connect"""
    fd: Optional[int]
    """descriptor of an inherited socket to listen on instead"""
    reuse_port: bool
    """let other servers listen on the same port; the kernel shares the connections"""
    backlog: int
    """connections that the kernel queues until they are accepted"""
    ssl_certfile: Optional[str]
    """file of PEM certificates, to serve wss and https"""
    ssl_keyfile: Optional[str]
    """file of the PEM key, if it is not in ssl_certfile"""
    ssl_keyfile_password: Optional[str]
    """password of the key"""
    ssl_ca_certs: Optional[str]
    """file of PEM certificates that sign those of clients"""
    ssl_cert_reqs: str
    """certificates of clients: not asked for, verified if there is one, or required"""
    ssl_ciphers: Optional[str]
    """ciphers for TLS 1.2, as OpenSSL lists them; default: Python's"""
    ssl_version: str
    """lowest version of TLS that a client may use"""
    factory: bool
    """call what module:attribute names, without arguments, to get the application"""
    app_dir: str
    """folder to import the application from; by default the working directory"""
    loop: str
    """event loop of run and the command line: asyncio's; uvloop, if it is installed; auto: asyncio's with our
    own poller, where the system has epoll
    """
    lifespan: str
    """send lifespan events; auto: serve without if the application raises on them"""
    root_path: str
    """prefix under which a proxy mounts the application, such as /app; none by default"""
    forwarded_allow_ips: str
    """peers whose forwarded_headers are believed: addresses and networks separated by commas, 'unix' for
    peers on a unix socket, '*' for all; none by default: any client can send such headers
    """
    forwarded_headers: Tuple[str, ...]
    """headers that the trusted proxy sets, out of x-forwarded-for, x-forwarded-proto, x-forwarded-host,
    x-forwarded-port, x-forwarded-prefix, forwarded, forwarded-host; no other is read, because a proxy passes
    on the client's headers that it does not set
    """
    proxy_protocol: bool
    """every connection begins with a PROXY protocol header (version 1 or 2), which names the client; only the
    peers of forwarded_allow_ips may connect
    """
    allowed_origins: Optional[Tuple[str, ...]]
    """origins that may open WebSockets, others get 403; 'https://*.example.com' stands for all hosts below
    example.com, 'same-origin' for the host of the request, '*' for all; default: all
    """
    headers: Sequence[Tuple[str, str]]
    """headers that every response gets besides those of the application, 101 and errors included"""
    date_header: bool
    """send a Date header, which RFC 9110 demands of origin servers"""
    workers: int
    """processes that serve, each with an event loop of its own; above 1 the application must be given as
    module:attribute
    """
    reload: bool
    """for development: start the application again when a file changes; needs the application as
    module:attribute
    """
    reload_dirs: Tuple[str, ...]
    """folders whose files are watched; by default app_dir, or the working directory"""
    reload_includes: Tuple[str, ...]
    """patterns of the names of watched files; one with a slash is of the whole path"""
    reload_excludes: Tuple[str, ...]
    """patterns of files and folders that are not watched, besides folders that begin with a dot, __pycache__,
    node_modules and virtual environments
    """
    ws_max_size: int
    """largest message, inflated; past it CLOSE 1009, and nothing of it is kept"""
    ws_max_fragments: int
    """fragments of a message, and one more for every 32 bytes; past it CLOSE 1008: empty ones could go on for
    ever
    """
    ws_max_queue: int
    """messages that wait for the application's receive; past it reading pauses"""
    ws_max_queue_bytes: int
    """limit on queued bytes (text: characters); one message larger than this is still let through"""
    ws_write_limit: int
    """size of the write buffer above which the application's send waits"""
    ws_ping_interval: Optional[float]
    """time between pings, below the idle limit of common proxies; None: no pings"""
    ws_ping_timeout: Optional[float]
    """time without a byte from the peer after a ping; past it CLOSE 1011; None: no limit"""
    ws_per_message_deflate: bool
    """agree to permessage-deflate if the client offers it"""
    ws_deflate_threshold: int
    """messages of fewer bytes are sent uncompressed; 0: none, because some clients fail on them"""
    ws_deflate_level: int
    """zlib's level: a higher one makes messages smaller, and takes longer"""
    ws_deflate_mem_level: int
    """zlib's memory level: 2^(level+9) bytes a connection"""
    ws_deflate_server_max_window_bits: int
    """our window: 2^(bits+2) bytes a connection that compresses; 12 and not 15, to save memory"""
    ws_deflate_client_max_window_bits: int
    """the client's window, if it lets us choose: 2^bits bytes a connection"""
    ws_deflate_server_no_context_takeover: bool
    """compress every message on its own: no memory between messages, larger messages"""
    ws_deflate_client_no_context_takeover: bool
    """ask the client to compress every message on its own"""
    timeout_handshake: Optional[float]
    """time from the connection to the end of its request's head, TLS included; past it 408"""
    timeout_accept: Optional[float]
    """time until a WebSocket is accepted or refused; past it 503, and the application is cancelled"""
    timeout_body: Optional[float]
    """time between two parts of a request's body; past it 408, and the application gets the disconnect"""
    timeout_keep_alive: Optional[float]
    """time without a byte from a response to the next request; past it the connection closes"""
    timeout_write: Optional[float]
    """time in which the peer reads nothing of what is written; past it the connection is aborted"""
    timeout_close: Optional[float]
    """time from our CLOSE, or our last byte, until the peer closes; past it the connection is aborted"""
    close_grace: Optional[float]
    """time for the application to answer what came before the peer's CLOSE; past it our CLOSE is sent"""
    timeout_app: Optional[float]
    """time for the application to return after the disconnect; past it the application is cancelled; None: no
    limit, because cleanup and background tasks may take long
    """
    drain_seconds: float
    """time over which a server that stops spreads the CLOSE 1012 of its WebSockets, so that their clients do
    not come back in one instant; part of timeout_graceful_shutdown
    """
    timeout_graceful_shutdown: Optional[float]
    """time for closing handshakes and applications when the server stops; the last second of it, or its
    second half, is for cancelled applications; past it they are left running
    """
    timeout_lifespan_shutdown: Optional[float]
    """time for the application's lifespan shutdown, after that; past it the application is cancelled"""
    timeout_worker_healthcheck: Optional[float]
    """time for which the application may block the event loop of a worker; past it another replaces it"""
    limit_concurrency: Optional[int]
    """open connections; past it 503, first for those whose request has not come; as many more, refused or
    closed, may wait for their peer to close
    """
    limit_max_requests: Optional[int]
    """requests and WebSockets after which a process stops, and a worker is replaced; against memory that an
    application never frees
    """
    limit_max_requests_jitter: int
    """most that is added to limit_max_requests, at random, so that workers do not stop at the same time"""
    limit_connections_per_client: Optional[int]
    """open connections of one IPv4 address or IPv6 network of 64 bits; past it 429; a trusted proxy has no
    limit, and the WebSockets that it passes on count for the addresses that it names
    """
    max_inbound_memory: Optional[int]
    """size of all that clients have sent and the application has not taken, inflated; past it reading pauses
    where a connection holds over 64 KiB, and messages that do not go on get CLOSE 1013; one message of
    ws_max_size always passes; None: no limit
    """
    limit_keep_alive_requests: int
    """requests that a connection may carry; the last is answered with Connection: close"""
    limit_request_line: int
    """size of the request line, for URLs with tokens in them; past it 414"""
    limit_request_head: int
    """size of the request head, for large cookies; past it 431"""
    limit_request_fields: int
    """header lines of a request; past it 431"""
    log_level: str
    """least severe level that is logged"""
    log_format: str
    """form of the lines that are printed; json: one object a line, tracebacks and errors of the command
    included
    """
    log_config: Optional[str]
    """file that sets logging up: .json and .yaml (with PyYAML) as logging.config.dictConfig has it, .ini and
    others as fileConfig
    """
    access_log: bool
    """log a line for every answer, every refusal, and the end of every WebSocket"""
    health_path: Optional[str]
    """path that the server itself answers, past every limit and without a line in the log: 200, and 503 while
    it stops
    """
    metrics_path: Optional[str]
    """path at which the server shows its metrics to Prometheus, like health_path; empty: they are kept, for
    Server.metrics, and not shown
    """


class ServerArguments(ServerOptions, total=False):
    """The options, and what else `Server` takes by keyword."""

    sockets: Optional[Sequence[socket]]
    """bound sockets to listen on, in place of host and port"""
    ssl_context: Optional[SSLContext]
    """the context of a server, in place of ssl_certfile"""
