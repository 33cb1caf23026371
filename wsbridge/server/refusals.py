"""What every refusal of a request has in common: its line in the log, its count, its answer in HTTP/1.1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Optional, Tuple, Union

from ..protocols.errors import RequestRefused, ServiceUnavailable
from ..protocols.events import RequestReceived
from ..protocols.responses import build_refusal

if TYPE_CHECKING:
    from ..protocols.http11 import RequestParser
    from .service import Service

__all__ = ["Refused", "build_stopping", "record_refusal", "write_refusal"]

#: A request, or its parser if it has not come whole; None if nothing of it could be read.
Refused = Union[RequestReceived, "RequestParser", None]


def build_stopping() -> RequestRefused:
    """The refusal of a server that is stopping."""
    return ServiceUnavailable("the server is stopping")


def record_refusal(
    service: Service,
    client: Optional[Tuple[str, int]],
    refused: Refused,
    refusal: RequestRefused,
    hint: Optional[str] = None,
) -> None:
    """Log and count that ``service`` refuses ``refused``; ``hint``: what is most likely wrong."""
    method, target = (b"", b"") if refused is None else (refused.method, refused.target)
    service.log_refusal(client, method, target, refusal, hint)
    if service.metrics is not None:
        service.metrics.count_refusal(refused, refusal.status)


def write_refusal(
    service: Service, transport: asyncio.WriteTransport, refused: Refused, refusal: RequestRefused
) -> None:
    """Answer ``refused`` with ``refusal``, in HTTP/1.1."""
    is_head = refused is not None and refused.method == b"HEAD"
    transport.write(build_refusal(refusal, head=is_head, date=service.date(), headers=service.get_headers()))
