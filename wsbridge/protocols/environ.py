"""`request_from_environ`: the request that a WSGI server (PEP 3333) has parsed."""

from __future__ import annotations

from typing import Any, Mapping
from urllib.parse import quote

from .events import RequestReceived

__all__ = ["request_from_environ"]

# The target as it was sent: gunicorn, uWSGI, werkzeug.
_RAW_TARGETS = ("RAW_URI", "REQUEST_URI")


def request_from_environ(environ: Mapping[str, Any]) -> RequestReceived:
    """The request that ``environ`` describes, as a parser of its bytes would return it.

    Where the server does not tell the target as it was sent, it is made of the
    path and the query. WSGI has joined the lines of a repeated header.

    Raises `ValueError` if it is not the environ of a WSGI request.
    """
    missing = [key for key in ("REQUEST_METHOD", "SERVER_PROTOCOL") if key not in environ]
    if missing:
        raise ValueError(f"environ has no {missing[0]}: it must be what a WSGI application is called with")
    headers = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            key = key[5:]
        elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH") or not value:
            continue
        headers.append((key.replace("_", "-").lower().encode("latin-1"), value.encode("latin-1")))
    return RequestReceived(
        environ["REQUEST_METHOD"].encode("latin-1"),
        _find_target(environ).encode("latin-1"),
        headers,
        environ["SERVER_PROTOCOL"].partition("/")[2],
    )


def _find_target(environ: Mapping[str, Any]) -> str:
    for key in _RAW_TARGETS:
        if environ.get(key):
            return str(environ[key])
    # PEP 3333: the percent-decoded bytes of the path, read as latin-1.
    path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"))
    query = environ.get("QUERY_STRING", "")
    return f"{path or '/'}?{query}" if query else path or "/"
