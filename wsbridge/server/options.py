"""The keyword arguments of `Server`, `serve` and `run`, for type checkers: the fields of `ServerConfig`."""

from __future__ import annotations

from typing import Optional, Tuple, TypedDict

__all__ = ["ServerOptions"]


class ServerOptions(TypedDict, total=False):
    """Every option is optional. The texts are those of `ServerConfig`, which editors do not see there."""

    host: str
    """address to listen on; by default only this host reaches it"""
    port: int
    """port to listen on; 0 takes any free one"""
    uds: Optional[str]
    """path of a unix socket to listen on instead"""
    uds_mode: int
    """permissions of the unix socket, octal; by default any local user can connect"""
    backlog: int
    """connections the kernel may hold before they are accepted"""
    ssl_certfile: Optional[str]
    """PEM certificates: serve wss and https"""
    ssl_keyfile: Optional[str]
    """PEM key, if not in the certificates' file"""
    ssl_keyfile_password: Optional[str]
    """password of the key"""
    lifespan: str
    """run lifespan events; auto: unless the application raises on them"""
    root_path: str
    """prefix under which a proxy mounts the application, such as /app; none by default"""
    forwarded_allow_ips: str
    """peers whose forwarded_headers are believed: addresses and networks separated by commas, 'unix' for
    peers on a unix socket, '*' for all; none by default: any client can send them
    """
    forwarded_headers: Tuple[str, ...]
    """headers that the trusted proxy sets, of x-forwarded-for, x-forwarded-proto, x-forwarded-host,
    x-forwarded-port, x-forwarded-prefix, forwarded, forwarded-host; no other is read, because a proxy passes
    on those of the client that it does not set
    """
    allowed_origins: Optional[Tuple[str, ...]]
    """origins that may open WebSockets, others get 403; 'https://*.example.com' stands for all hosts below
    example.com, 'same-origin' for the Host's own, '*' for all; default: all
    """
    ws_max_size: int
    """largest message, inflated; past it CLOSE 1009 and nothing is kept"""
    ws_max_fragments: int
    """fragments of a message, plus one for every 32 bytes, as empty ones could go on for ever; past it CLOSE
    1008
    """
    ws_max_queue: int
    """messages received and not yet taken by the application; past it reading pauses"""
    ws_max_queue_bytes: int
    """limit on queued bytes (text: characters); one message larger than this is still let through"""
    ws_write_limit: int
    """bytes waiting to be written above which the application's send waits"""
    ws_ping_interval: Optional[float]
    """time between pings, below the idle limit of common proxies; None: no pings"""
    ws_ping_timeout: Optional[float]
    """time after a ping without a byte from the peer until CLOSE 1011; None: no limit"""
    ws_per_message_deflate: bool
    """agree to permessage-deflate where the client offers it"""
    ws_deflate_threshold: int
    """messages of fewer bytes are sent uncompressed; 0: none, as some clients fail on those"""
    ws_deflate_level: int
    """zlib's level: more makes messages smaller, and takes longer"""
    ws_deflate_mem_level: int
    """zlib's memory level: 2^(level+9) bytes a connection"""
    ws_deflate_server_max_window_bits: int
    """our window: 2^(bits+2) bytes a connection that compresses; 12 and not 15 for memory"""
    ws_deflate_client_max_window_bits: int
    """the client's window, where it lets us choose: 2^bits bytes a connection"""
    ws_deflate_server_no_context_takeover: bool
    """compress every message on its own: no memory between messages, larger messages"""
    ws_deflate_client_no_context_takeover: bool
    """ask the client to compress every message on its own"""
    timeout_handshake: Optional[float]
    """from the connection to the end of its request's head, TLS included; past it 408"""
    timeout_accept: Optional[float]
    """until the application accepts or refuses a WebSocket; past it 503, and it is cancelled"""
    timeout_write: Optional[float]
    """time in which a peer takes nothing of what waits for it; past it the connection is aborted"""
    timeout_close: Optional[float]
    """time from our CLOSE, or our last byte, to the peer's end; past it the connection is aborted"""
    close_grace: Optional[float]
    """the application's time to answer what came before the peer's CLOSE; past it ours is sent"""
    timeout_app: Optional[float]
    """the application's time to return after the disconnect; past it it is cancelled; None: no limit, for
    cleanup and background tasks may take long
    """
    timeout_graceful_shutdown: Optional[float]
    """time for closing handshakes and applications when the server stops; the last second of it is for
    cancelled applications; past it they are left running
    """
    timeout_lifespan_shutdown: Optional[float]
    """the application's time for its shutdown event after that; past it it is cancelled"""
    limit_concurrency: Optional[int]
    """connections at a time; past it 503. As many more, refused or closed, may wait for their peer"""
    limit_request_line: int
    """request line, for URLs with tokens in them; past it 414"""
    limit_request_head: int
    """request head, for large cookies; past it 431"""
    limit_request_fields: int
    """header lines of a request; past it 431"""
    log_level: str
    """least severe log line that run prints"""
