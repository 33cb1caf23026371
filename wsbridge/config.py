"""`ServerConfig`: every limit, deadline and switch in one frozen, validated object.

Each field is declared once, with its default, its rule and its reason; the
command line's flags are made from the same declarations.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import List, Optional, Sequence, Tuple

from .config_checks import check_fields_together
from .config_rules import (
    CERT_REQS,
    CERT_REQS_BY_NUMBER,
    HEADERS,
    HOSTS,
    METRICS_PATH,
    OWN_PATH,
    ROOT_PATH,
    SECONDS,
    SECONDS_OR_ZERO,
    SWITCH,
    TEXT,
    TEXTS,
    Rule,
    is_text_tuple,
    naming,
    one_of,
    option,
    optional,
    whole_number,
)
from .protocols.deflate import DeflateSettings
from .protocols.errors import ConfigError, EventError
from .protocols.forwarded import (
    DEFAULT_FORWARDED_HEADERS,
    FORWARDED_HEADERS,
    TrustedPeers,
    check_forwarded_headers,
)
from .protocols.handshake import check_default_headers
from .protocols.origins import AllowedOrigins

__all__ = ["MAX_WORKERS", "ServerConfig"]

# So many snapshots have room in the memory in which workers show their metrics.
MAX_WORKERS = 256


@dataclass(frozen=True)
class ServerConfig:
    """The server's configuration; raises `ConfigError` for a value that breaks its field's rule.

    Sizes are bytes and times seconds, unless a field's help says otherwise.
    Options that uvicorn has too have its names. A switch ``x`` has the flags
    ``--x`` and ``--no-x``. ``python3 -m wsbridge --help`` prints every field
    with its reason.
    """

    # Listening.
    host: str = option(
        "127.0.0.1",
        HOSTS,
        "address or name to listen on, or several, separated by commas; '*' or empty for every address; "
        "by default only this host reaches it",
    )
    port: int = option(
        8000, whole_number(0, 65535), "port to listen on; 0: any free port, the same for every host"
    )
    uds: Optional[str] = option(None, optional(TEXT), "path of a unix socket to listen on instead")
    uds_mode: int = option(
        0o666,
        whole_number(0, 0o777),
        "permissions of the unix socket, octal; by default any local user can connect",
        base=8,
    )
    fd: Optional[int] = option(
        None, optional(whole_number(0)), "descriptor of an inherited socket to listen on instead"
    )
    reuse_port: bool = option(
        False, SWITCH, "let other servers listen on the same port; the kernel shares the connections"
    )
    backlog: int = option(2048, whole_number(1), "connections that the kernel queues until they are accepted")
    ssl_certfile: Optional[str] = option(
        None, optional(TEXT), "file of PEM certificates, to serve wss and https"
    )
    ssl_keyfile: Optional[str] = option(
        None, optional(TEXT), "file of the PEM key, if it is not in ssl_certfile"
    )
    ssl_keyfile_password: Optional[str] = option(None, optional(TEXT), "password of the key", repr=False)
    ssl_ca_certs: Optional[str] = option(
        None, optional(TEXT), "file of PEM certificates that sign those of clients"
    )
    ssl_cert_reqs: str = option(
        "none", CERT_REQS, "certificates of clients: not asked for, verified if there is one, or required"
    )
    ssl_ciphers: Optional[str] = option(
        None, optional(TEXT), "ciphers for TLS 1.2, as OpenSSL lists them; default: Python's"
    )
    ssl_version: str = option(
        "TLSv1.2", one_of("TLSv1.2", "TLSv1.3"), "lowest version of TLS that a client may use"
    )

    # The application.
    factory: bool = option(
        False, SWITCH, "call what module:attribute names, without arguments, to get the application"
    )
    app_dir: str = option("", TEXT, "folder to import the application from; by default the working directory")
    loop: str = option(
        "auto",
        one_of("auto", "asyncio", "uvloop"),
        "event loop of run and the command line: asyncio's; uvloop, if it is installed; auto: asyncio's with "
        "our own poller, where the system has epoll",
    )
    lifespan: str = option(
        "auto",
        one_of("auto", "on", "off"),
        "send lifespan events; auto: serve without if the application raises on them",
    )
    root_path: str = option(
        "", ROOT_PATH, "prefix under which a proxy mounts the application, such as /app; none by default"
    )
    forwarded_allow_ips: str = option(
        "",
        TEXT,
        "peers whose forwarded_headers are believed: addresses and networks separated by "
        "commas, 'unix' for peers on a unix socket, '*' for all; none by default: any client can send such "
        "headers",
    )
    forwarded_headers: Tuple[str, ...] = option(
        DEFAULT_FORWARDED_HEADERS,
        Rule("a tuple of names, of " + ", ".join(FORWARDED_HEADERS), is_text_tuple),
        "headers that the trusted proxy sets, out of " + ", ".join(FORWARDED_HEADERS) + "; no other is read, "
        "because a proxy passes on the client's headers that it does not set",
    )
    proxy_protocol: bool = option(
        False,
        SWITCH,
        "every connection begins with a PROXY protocol header (version 1 or 2), which names the client; only "
        "the peers of forwarded_allow_ips may connect",
    )
    allowed_origins: Optional[Tuple[str, ...]] = option(
        None,
        optional(TEXTS),
        "origins that may open WebSockets, others get 403; 'https://*.example.com' stands for all hosts "
        "below example.com, 'same-origin' for the host of the request, '*' for all; default: all",
    )
    headers: Sequence[Tuple[str, str]] = option(
        (),
        HEADERS,
        "headers that every response gets besides those of the application, 101 and errors included",
        flag="header",
    )
    date_header: bool = option(True, SWITCH, "send a Date header, which RFC 9110 demands of origin servers")

    # Processes.
    workers: int = option(
        1,
        whole_number(1, MAX_WORKERS),
        "processes that serve, each with an event loop of its own; above 1 the application must be given as "
        "module:attribute",
    )
    reload: bool = option(
        False,
        SWITCH,
        "for development: start the application again when a file changes; needs the application as "
        "module:attribute",
    )
    reload_dirs: Tuple[str, ...] = option(
        (),
        TEXTS,
        "folders whose files are watched; by default app_dir, or the working directory",
        flag="reload-dir",
    )
    reload_includes: Tuple[str, ...] = option(
        ("*.py",),
        TEXTS,
        "patterns of the names of watched files; one with a slash is of the whole path",
        flag="reload-include",
    )
    reload_excludes: Tuple[str, ...] = option(
        (),
        TEXTS,
        "patterns of files and folders that are not watched, besides folders that begin with a dot, "
        "__pycache__, node_modules and virtual environments",
        flag="reload-exclude",
    )

    # WebSocket messages.
    ws_max_size: int = option(
        16 * 1024 * 1024,
        whole_number(1),
        "largest message, inflated; past it CLOSE 1009, and nothing of it is kept",
    )
    ws_max_fragments: int = option(
        1024,
        whole_number(1),
        "fragments of a message, and one more for every 32 bytes; past it CLOSE 1008: empty ones could go on "
        "for ever",
    )
    ws_max_queue: int = option(
        32, whole_number(1), "messages that wait for the application's receive; past it reading pauses"
    )
    ws_max_queue_bytes: int = option(
        2 * 1024 * 1024,
        whole_number(1),
        "limit on queued bytes (text: characters); one message larger than this is still let through",
    )
    ws_write_limit: int = option(
        64 * 1024, whole_number(1), "size of the write buffer above which the application's send waits"
    )
    ws_ping_interval: Optional[float] = option(
        20.0,
        optional(SECONDS),
        "time between pings, below the idle limit of common proxies; None: no pings",
    )
    ws_ping_timeout: Optional[float] = option(
        20.0,
        optional(SECONDS),
        "time without a byte from the peer after a ping; past it CLOSE 1011; None: no limit",
    )

    # Compression.
    ws_per_message_deflate: bool = option(True, SWITCH, "agree to permessage-deflate if the client offers it")
    ws_deflate_threshold: int = option(
        0,
        whole_number(0),
        "messages of fewer bytes are sent uncompressed; 0: none, because some clients fail on them",
    )
    ws_deflate_level: int = option(
        3, whole_number(0, 9), "zlib's level: a higher one makes messages smaller, and takes longer"
    )
    ws_deflate_mem_level: int = option(
        4, whole_number(1, 9), "zlib's memory level: 2^(level+9) bytes a connection"
    )
    ws_deflate_server_max_window_bits: int = option(
        12,
        whole_number(9, 15),
        "our window: 2^(bits+2) bytes a connection that compresses; 12 and not 15, to save memory",
    )
    ws_deflate_client_max_window_bits: int = option(
        12, whole_number(9, 15), "the client's window, if it lets us choose: 2^bits bytes a connection"
    )
    ws_deflate_server_no_context_takeover: bool = option(
        False, SWITCH, "compress every message on its own: no memory between messages, larger messages"
    )
    ws_deflate_client_no_context_takeover: bool = option(
        False, SWITCH, "ask the client to compress every message on its own"
    )

    # Deadlines; None: none.
    timeout_handshake: Optional[float] = option(
        10.0,
        optional(SECONDS),
        "time from the connection to the end of its request's head, TLS included; past it 408",
    )
    timeout_accept: Optional[float] = option(
        10.0,
        optional(SECONDS),
        "time until a WebSocket is accepted or refused; past it 503, and the application is cancelled",
    )
    timeout_body: Optional[float] = option(
        30.0,
        optional(SECONDS),
        "time between two parts of a request's body; past it 408, and the application gets the disconnect",
    )
    timeout_keep_alive: Optional[float] = option(
        5.0,
        optional(SECONDS),
        "time without a byte from a response to the next request; past it the connection closes",
    )
    timeout_write: Optional[float] = option(
        30.0,
        optional(SECONDS),
        "time in which the peer reads nothing of what is written; past it the connection is aborted",
    )
    timeout_close: Optional[float] = option(
        10.0,
        optional(SECONDS),
        "time from our CLOSE, or our last byte, until the peer closes; past it the connection is aborted",
    )
    close_grace: Optional[float] = option(
        1.0,
        optional(SECONDS),
        "time for the application to answer what came before the peer's CLOSE; past it our CLOSE is sent",
    )
    timeout_app: Optional[float] = option(
        None,
        optional(SECONDS),
        "time for the application to return after the disconnect; past it the application is cancelled; "
        "None: no limit, because cleanup and background tasks may take long",
    )
    drain_seconds: float = option(
        0,
        SECONDS_OR_ZERO,
        "time over which a server that stops spreads the CLOSE 1012 of its WebSockets, so that their clients "
        "do not come back in one instant; part of timeout_graceful_shutdown",
    )
    timeout_graceful_shutdown: Optional[float] = option(
        20.0,
        optional(SECONDS),
        "time for closing handshakes and applications when the server stops; the last second of it, or its "
        "second half, is for cancelled applications; past it they are left running",
    )
    timeout_lifespan_shutdown: Optional[float] = option(
        5.0,
        optional(SECONDS),
        "time for the application's lifespan shutdown, after that; past it the application is cancelled",
    )
    timeout_worker_healthcheck: Optional[float] = option(
        60.0,
        optional(SECONDS),
        "time for which the application may block the event loop of a worker; past it another replaces it",
    )

    # Limits.
    limit_concurrency: Optional[int] = option(
        None,
        optional(whole_number(1)),
        "open connections; past it 503, first for those whose request has not come; as many more, refused or "
        "closed, may wait for their peer to close",
    )
    limit_max_requests: Optional[int] = option(
        None,
        optional(whole_number(1)),
        "requests and WebSockets after which a process stops, and a worker is replaced; against memory that "
        "an application never frees",
    )
    limit_max_requests_jitter: int = option(
        0,
        whole_number(0),
        "most that is added to limit_max_requests, at random, so that workers do not stop at the same time",
    )
    limit_connections_per_client: Optional[int] = option(
        None,
        optional(whole_number(1)),
        "open connections of one IPv4 address or IPv6 network of 64 bits; past it 429; a trusted proxy has "
        "no limit, and the WebSockets that it passes on count for the addresses that it names",
    )
    max_inbound_memory: Optional[int] = option(
        256 * 1024 * 1024,
        optional(whole_number(1)),
        "size of all that clients have sent and the application has not taken, inflated; past it reading "
        "pauses where a connection holds over 64 KiB, and messages that do not go on get CLOSE 1013; one "
        "message of ws_max_size always passes; None: no limit",
    )
    limit_keep_alive_requests: int = option(
        1000,
        whole_number(1),
        "requests that a connection may carry; the last is answered with Connection: close",
    )
    limit_request_line: int = option(
        32 * 1024, whole_number(16), "size of the request line, for URLs with tokens in them; past it 414"
    )
    limit_request_head: int = option(
        64 * 1024, whole_number(64), "size of the request head, for large cookies; past it 431"
    )
    limit_request_fields: int = option(256, whole_number(1), "header lines of a request; past it 431")

    # Logging.
    log_level: str = option(
        "info", one_of("critical", "error", "warning", "info", "debug"), "least severe level that is logged"
    )
    log_format: str = option(
        "text",
        one_of("text", "json"),
        "form of the lines that are printed; json: one object a line, tracebacks and errors of the command "
        "included",
    )
    log_config: Optional[str] = option(
        None,
        optional(TEXT),
        "file that sets logging up: .json and .yaml (with PyYAML) as logging.config.dictConfig has it, .ini "
        "and others as fileConfig",
    )
    access_log: bool = option(
        True, SWITCH, "log a line for every answer, every refusal, and the end of every WebSocket"
    )

    # Health and metrics.
    health_path: Optional[str] = option(
        None,
        optional(OWN_PATH),
        "path that the server itself answers, past every limit and without a line in the log: 200, and 503 "
        "while it stops",
    )
    metrics_path: Optional[str] = option(
        None,
        METRICS_PATH,
        "path at which the server shows its metrics to Prometheus, like health_path; empty: they are kept, "
        "for Server.metrics, and not shown",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            rule: Rule = item.metadata["rule"]
            if not rule.holds(value):
                raise ConfigError(f"{item.name}={value!r}: it must be {rule.words}")
        cert_reqs = CERT_REQS_BY_NUMBER.get(self.ssl_cert_reqs, self.ssl_cert_reqs)
        object.__setattr__(self, "ssl_cert_reqs", cert_reqs)
        check_fields_together(self)
        # Every path begins with a slash, so that "/app/" and a path would have two.
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        object.__setattr__(self, "forwarded_headers", tuple(map(str.lower, self.forwarded_headers)))
        check_forwarded_headers(self.forwarded_headers)
        object.__setattr__(self, "headers", tuple((name, value) for name, value in self.headers))
        # Parsed here and not on first use, so that a wrong item raises at once.
        self.trusted_peers  # noqa: B018
        self.origins  # noqa: B018
        self.default_headers  # noqa: B018

    @cached_property
    def trusted_peers(self) -> TrustedPeers:
        """The peers of ``forwarded_allow_ips``."""
        with naming("forwarded_allow_ips"):
            return TrustedPeers(self.forwarded_allow_ips)

    @cached_property
    def origins(self) -> Optional[AllowedOrigins]:
        """The origins of ``allowed_origins``; None if all are allowed."""
        with naming("allowed_origins"):
            return None if self.allowed_origins is None else AllowedOrigins(self.allowed_origins)

    @cached_property
    def default_headers(self) -> List[Tuple[bytes, bytes]]:
        """The ``headers``, as they are sent."""
        try:
            # As header values of browsers and of Python's own libraries are encoded.
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
            check_default_headers(headers)
        except (EventError, UnicodeEncodeError) as error:
            raise ConfigError(f"headers={self.headers!r:.200}: {error}") from None
        return headers

    @cached_property
    def deflate(self) -> DeflateSettings:
        """The fields named ``ws_deflate_*``, for `WSProtocol`."""
        prefix = "ws_deflate_"
        names = [item.name for item in fields(self) if item.name.startswith(prefix)]
        return DeflateSettings(**{name[len(prefix) :]: getattr(self, name) for name in names})


# For help(): every field, with its text from ``--help``.
ServerConfig.__doc__ = (ServerConfig.__doc__ or "") + "".join(
    f"\n    ``{item.name}`` = {item.default!r}: {item.metadata['help']}" for item in fields(ServerConfig)
)
