"""The keyword arguments of `Server`, `serve` and `run`, for type checkers: the fields of `ServerConfig`."""

from __future__ import annotations

from typing import Optional, Tuple, TypedDict

__all__ = ["ServerOptions"]


class ServerOptions(TypedDict, total=False):
    """Every option is optional; `ServerConfig` documents them."""

    host: str
    port: int
    uds: Optional[str]
    uds_mode: int
    backlog: int
    ssl_certfile: Optional[str]
    ssl_keyfile: Optional[str]
    ssl_keyfile_password: Optional[str]
    lifespan: str
    root_path: str
    forwarded_allow_ips: str
    forwarded_headers: Tuple[str, ...]
    allowed_origins: Optional[Tuple[str, ...]]
    ws_max_size: int
    ws_max_fragments: int
    ws_max_queue: int
    ws_max_queue_bytes: int
    ws_write_limit: int
    ws_ping_interval: Optional[float]
    ws_ping_timeout: Optional[float]
    ws_per_message_deflate: bool
    ws_deflate_threshold: int
    ws_deflate_level: int
    ws_deflate_mem_level: int
    ws_deflate_server_max_window_bits: int
    ws_deflate_client_max_window_bits: int
    ws_deflate_server_no_context_takeover: bool
    ws_deflate_client_no_context_takeover: bool
    timeout_handshake: Optional[float]
    timeout_accept: Optional[float]
    timeout_write: Optional[float]
    timeout_close: Optional[float]
    close_grace: Optional[float]
    timeout_app: Optional[float]
    timeout_graceful_shutdown: Optional[float]
    timeout_lifespan_shutdown: Optional[float]
    limit_concurrency: Optional[int]
    limit_request_line: int
    limit_request_head: int
    limit_request_fields: int
    log_level: str
