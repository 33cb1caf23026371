"""What the fields of a `ServerConfig` must be to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .protocols.errors import ConfigError

if TYPE_CHECKING:
    from .config import ServerConfig

__all__ = ["check_fields_together"]


def check_fields_together(config: ServerConfig) -> None:
    """Raise `ConfigError` for options that contradict each other, or have no effect without another."""
    _check_address(config)
    _check_tls(config)
    _check_reload(config)
    _check_stop(config)
    _check_proxy(config)
    _check_own_paths(config)


def _check_address(config: ServerConfig) -> None:
    if config.uds is not None and config.fd is not None:
        raise ConfigError(f"uds={config.uds!r} and fd={config.fd!r}: give one of them")
    if config.reuse_port and (config.uds is not None or config.fd is not None):
        raise ConfigError("reuse_port with uds or fd: it is for host and port")
    if config.uds is None and config.uds_mode != type(config).uds_mode:
        raise ConfigError(f"uds_mode={config.uds_mode:#o} without uds: no socket file is made")


def _check_proxy(config: ServerConfig) -> None:
    if config.proxy_protocol and not config.trusted_peers:
        raise ConfigError("proxy_protocol without forwarded_allow_ips: name the proxies that send the header")


def _check_tls(config: ServerConfig) -> None:
    if config.ssl_certfile is None:
        if config.ssl_keyfile is not None:
            raise ConfigError("ssl_keyfile without ssl_certfile: a key needs its certificate")
        if config.ssl_keyfile_password is not None:
            raise ConfigError("ssl_keyfile_password without ssl_certfile: there is no key to read")
        for name in ("ssl_ca_certs", "ssl_cert_reqs", "ssl_ciphers", "ssl_version"):
            if getattr(config, name) != getattr(type(config), name):
                raise ConfigError(f"{name} without ssl_certfile: without a certificate there is no TLS")
    if config.ssl_cert_reqs != "none" and config.ssl_ca_certs is None:
        raise ConfigError(
            f"ssl_cert_reqs={config.ssl_cert_reqs!r} without ssl_ca_certs: it has the certificates that "
            "sign those of clients"
        )
    if config.ssl_cert_reqs == "none" and config.ssl_ca_certs is not None:
        raise ConfigError(
            "ssl_ca_certs without ssl_cert_reqs: set ssl_cert_reqs to optional or required to verify "
            "clients; certificates between this server's and its authority belong in ssl_certfile"
        )
    if config.ssl_ciphers is not None and config.ssl_version == "TLSv1.3":
        raise ConfigError("ssl_ciphers with ssl_version='TLSv1.3': it lists the ciphers of TLS 1.2")


def _check_reload(config: ServerConfig) -> None:
    if config.reload and config.workers > 1:
        raise ConfigError(f"reload with workers={config.workers}: it is for one process")
    for name in ("reload_dirs", "reload_includes", "reload_excludes"):
        if not config.reload and getattr(config, name) != getattr(type(config), name):
            raise ConfigError(f"{name} without reload: nothing is watched")


def _check_stop(config: ServerConfig) -> None:
    limit = config.timeout_graceful_shutdown
    if config.drain_seconds and limit is not None and config.drain_seconds + 1 >= limit:
        raise ConfigError(
            f"drain_seconds={config.drain_seconds!r}: it must be more than a second below "
            f"timeout_graceful_shutdown={limit!r}, whose last second is for cancelled applications"
        )
    if config.limit_max_requests_jitter and config.limit_max_requests is None:
        raise ConfigError("limit_max_requests_jitter without limit_max_requests: there is no limit")


def _check_own_paths(config: ServerConfig) -> None:
    if config.metrics_path and config.metrics_path == config.health_path:
        raise ConfigError(f"metrics_path={config.metrics_path!r}: it must differ from health_path")
