"""Whether a new connection or request may be taken, by the limits of its server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Optional, Tuple

from ..protocols.errors import RequestRefused, ServiceUnavailable, TooManyRequests
from .refusals import build_stopping

if TYPE_CHECKING:
    from .clients import Clients
    from .service import Service

__all__ = ["admit_client", "find_refusal"]


def find_refusal(service: Service) -> Optional[RequestRefused]:
    """Why no connection or request can be taken now: the server is stopping or full; None if one can.

    In a full server the connection that has waited for its first request for the longest time gives way:
    clients that connect and send nothing must not keep out those that do.
    """
    if service.is_stopping:
        return build_stopping()
    limit = service.config.limit_concurrency
    if limit is None or service.open_connections < limit:
        return None
    refusal = ServiceUnavailable(f"{limit} connections are open, which is the limit")
    for member in service.waiting:
        member.give_way(refusal)
        return None
    service.has_refused = True
    return refusal


def admit_client(
    clients: Clients, transport: asyncio.BaseTransport, client: Optional[Tuple[str, int]]
) -> Optional[RequestRefused]:
    """Count a connection for its client, or return why that has too many."""
    try:
        clients.add(transport, client and client[0])
    except TooManyRequests as refusal:
        return refusal
    return None
