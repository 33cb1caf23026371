"""The two loggers, and the lines that several modules log.

``wsbridge.access`` gets one line for every answer, refusal and end of a
WebSocket, ``wsbridge.error`` all others; both are below ``wsbridge``. What comes
from the wire is quoted or escaped, so that it can neither end a line nor move
what stands around it, whoever formats the record. The arguments of an access
line are one dict, which `format.JsonFormatter` shows field by field.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, Union

from ...asgi.types import Scope
from ...protocols.errors import RequestRefused
from ...protocols.events import RequestReceived
from ..connection.addresses import format_client
from ..connection.hints import shorten_target

if TYPE_CHECKING:
    from ..connection.info import ConnectionInfo

    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter

__all__ = [
    "SafeLogger",
    "access_logger",
    "describe_end",
    "error_logger",
    "list_end",
    "log_answer",
    "log_end",
    "log_failed_handshake",
    "log_hint",
    "log_raised",
    "log_refusal",
    "log_safely",
    "logger",
    "report_handler",
]

#: The parent of the others; nothing is logged by it.
logger = logging.getLogger("wsbridge")

access_logger = logging.getLogger("wsbridge.access")

_CLOSED_BY = {
    "client": "closed by client",
    "application": "closed by application",
    "stop": "closed by the server's stop",
    "violation": "closed for a violation",
    "timeout": "closed by timeout",
    "lost": "lost",
}


class SafeLogger(Adapter):
    """A logger whose handlers may raise: that is no fault of the connection which logs."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        log_safely(self.logger, level, msg, *args, **kwargs)


def log_safely(
    logger: logging.Logger, level: int, message: object, *args: object, exc_info: Any = None, **more: Any
) -> None:
    """Log a line. The first error that a handler raises is reported where lines without a handler go."""
    try:
        logger.log(level, message, *args, exc_info=exc_info, **more)
    except KeyboardInterrupt:
        # Most likely a Ctrl-C, and not the handler's.
        raise
    except BaseException as error:
        report_handler(error)


_reported: Dict[type, None] = {}


def report_handler(error: BaseException) -> None:
    """Report what a handler has raised, once for each type: a handler that fails fails at every line."""
    kind, last_resort = type(error), logging.lastResort
    if kind in _reported or last_resort is None:
        return
    _reported[kind] = None
    text = "a logging handler raised; the next errors of this type are not reported"
    exc_info = (kind, error, error.__traceback__)
    name = error_logger.logger.name
    last_resort.handle(logging.LogRecord(name, logging.ERROR, __file__, 0, text, (), exc_info))


#: For all that is no access line.
error_logger = SafeLogger(logging.getLogger("wsbridge.error"))

AnyLogger = Union[logging.Logger, SafeLogger]


def log_answer(scope: Scope, status: int, logger: logging.Logger = access_logger) -> None:
    """Log one line for a request. The parser allows no control byte in a target."""
    fields = {
        "client": format_client(scope["client"]),
        "method": scope.get("method", "websocket"),
        "path": _decode(scope["raw_path"]),
        "status": status,
    }
    log_safely(logger, logging.INFO, '%(client)s "%(method)s %(path)s" %(status)d', fields)


def log_end(info: ConnectionInfo, logger: logging.Logger = access_logger) -> None:
    """Log one line for a WebSocket that has ended."""
    text = f'%(client)s "%(method)s %(path)s" {_escape_percent(describe_end(info))}'
    log_safely(logger, logging.INFO, text, list_end(info))


def list_end(info: ConnectionInfo) -> Dict[str, Any]:
    """The fields of the line of a WebSocket that has ended."""
    return {
        "client": format_client(info.client),
        "method": "websocket",
        "path": _decode(info.raw_path),
        "subprotocol": info.subprotocol,
        "code": info.code,
        "reason": info.reason,
        "closed_by": info.closed_by,
        "seconds": None if info.seconds is None else round(info.seconds, 3),
        "messages_received": info.messages_received,
        "bytes_received": info.bytes_received,
        "messages_sent": info.messages_sent,
        "bytes_sent": info.bytes_sent,
    }


def describe_end(info: ConnectionInfo) -> str:
    """How a WebSocket has ended, as text lines show it."""
    reason = f" {_quote(info.reason)}" if info.reason else ""
    how = f"{info.code} {_CLOSED_BY[info.closed_by or 'lost']}{reason}"
    subprotocol = f", subprotocol {info.subprotocol}" if info.subprotocol else ""
    received = f"{info.messages_received} messages and {info.bytes_received} bytes received"
    sent = f"{info.messages_sent} and {info.bytes_sent} sent"
    return f"{how}{subprotocol}, {info.seconds:.3f} s, {received}, {sent}"


def log_refusal(
    logger: logging.Logger,
    client: Optional[Tuple[str, int]],
    method: bytes,
    target: bytes,
    refusal: RequestRefused,
    hint: Optional[str] = None,
    *,
    is_answered: bool = False,
) -> None:
    """Log one line for a refused request; see `Service.log_refusal`."""
    fields: Dict[str, Any] = {"client": format_client(client)}
    text = "%(client)s"
    if target:
        # Nothing of a request is known before its target has ended.
        fields.update(method=_decode(method), path=_decode(shorten_target(target)))
        text += ' "%(method)s %(path)s"'
    fields["error"] = str(refusal)
    if is_answered:
        text += " ends its connection: %(error)s"
    else:
        fields["status"] = refusal.status
        text += " refused: %(status)d %(error)s"
    if hint is not None:
        fields["hint"] = hint
        text += "; %(hint)s"
    log_safely(logger, logging.INFO, text, fields)


def log_hint(
    client: Optional[Tuple[str, int]], request: RequestReceived, hint: str, logger: AnyLogger
) -> None:
    """Log one line about a request that is answered, but is most likely not what was meant."""
    fields = {
        "client": format_client(client),
        "method": _decode(request.method),
        "path": _decode(shorten_target(request.target)),
        "hint": hint,
    }
    logger.info('%(client)s "%(method)s %(path)s" %(hint)s', fields)


def log_failed_handshake(hint: str, logger: logging.Logger = access_logger) -> None:
    """Log one line for a handshake of TLS that failed; whose it was is not known."""
    fields = {"error": "TLS handshake failed", "hint": hint}
    log_safely(logger, logging.INFO, "refused: %(error)s; %(hint)s", fields)


def log_raised(message: str, error: BaseException, logger: AnyLogger = error_logger) -> None:
    """Log ``error`` with its traceback, once: it may both leave the loop and reach a task that awaits it."""
    # Not by assignment, which a frozen dataclass refuses.
    attributes = vars(error)
    if "_wsbridge_is_logged" not in attributes:
        attributes["_wsbridge_is_logged"] = True
        logger.error(message, exc_info=error)


def _decode(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace")


def _quote(text: str) -> str:
    """``text`` between quotes, in printable ASCII."""
    # JSON leaves DEL as it is.
    return json.dumps(text).replace("\x7f", "\\u007f")


def _escape_percent(text: str) -> str:
    return text.replace("%", "%%")
