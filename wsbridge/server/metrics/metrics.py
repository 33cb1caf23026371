"""`Metrics`: what a server counts for Prometheus, and its text format 0.0.4.

Nothing is counted for a message. Each connection has its counters anyway: they
are added up when it ends, and those of open connections whenever somebody asks.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections import Counter
from http import HTTPStatus
from itertools import accumulate
from math import inf
from operator import add, attrgetter
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ... import __version__
from ...asgi.types import Scope
from ...protocols.events import RequestReceived
from ...protocols.fields import lists_token
from .slot import MetricsSlot, Snapshot

if TYPE_CHECKING:
    from ..connection.info import ConnectionInfo
    from ..refusals import Refused
    from ..service import Service

__all__ = ["FAMILIES", "Load", "Metrics", "build_series", "get_load", "render_metrics"]


class Family(NamedTuple):
    """The series of one name."""

    type: str
    help: str


#: In the order of the text.
FAMILIES = {
    "wsbridge_build_info": Family("gauge", "The version of wsbridge and of Python; always 1."),
    "wsbridge_start_time_seconds": Family("gauge", "When the server started, in seconds since 1970."),
    "wsbridge_connections_total": Family("counter", "Connections that were accepted."),
    "wsbridge_connections": Family(
        "gauge",
        "Connections that wait for a request, answer one, open, hold or close a WebSocket, or only wait for "
        "their peer to close.",
    ),
    "wsbridge_http_requests_total": Family(
        "counter", "Requests that were answered, by method and status, opening handshakes left out."
    ),
    "wsbridge_handshakes_total": Family("counter", "Opening handshakes that were answered, by status."),
    "wsbridge_websocket_closes_total": Family(
        "counter", "WebSockets that have ended, by close code and by who has ended them."
    ),
    "wsbridge_websocket_messages_total": Family("counter", "Messages by direction."),
    "wsbridge_websocket_bytes_total": Family(
        "counter", "Bytes of WebSocket frames by direction, as they are on the wire."
    ),
    "wsbridge_deflate_uncompressed_bytes_total": Family(
        "counter", "Bytes of the messages that were compressed on the wire, before compression."
    ),
    "wsbridge_deflate_compressed_bytes_total": Family(
        "counter", "Bytes of the messages that were compressed on the wire, after compression."
    ),
    "wsbridge_ping_seconds": Family("histogram", "Time between a ping and its pong."),
    "wsbridge_paused_connections": Family(
        "gauge",
        "Connections on which nothing is read because the application is behind, or on which the "
        "application waits because the peer is.",
    ),
    "wsbridge_queue_bytes": Family(
        "gauge", "Bytes of messages and bodies that applications have not taken; characters of text."
    ),
    "wsbridge_inbound_memory_bytes": Family(
        "gauge", "Bytes that count for max_inbound_memory, incomplete messages included, as last looked up."
    ),
    "wsbridge_write_buffer_bytes": Family("gauge", "Bytes that wait to be sent."),
    "wsbridge_detached_applications": Family("gauge", "Applications that go on after their disconnect."),
}

# Collecting takes time for each connection. Up to EXACT_UP_TO connections every scrape collects; each one
# beyond lets the same values be shown for REUSE_PER_CONNECTION seconds more, so that collecting takes 5 % of
# the time at most.
EXACT_UP_TO = 400
REUSE_PER_CONNECTION = 50e-6

# The values of the label `state`.
_STATES = ("waiting", "http", "connecting", "open", "closing", "lingering")

# Seconds: from the same host to another continent, and what a busy loop adds.
_PING_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# RFC 9110 9.1 and RFC 5789. Clients can send any method: each other one would be a series of its own.
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
_STATUSES = {int(status) for status in HTTPStatus}


def build_series(name: str, **labels: object) -> str:
    """A series as the text format has it: ``name{label="value"}``."""
    pairs = ",".join(f'{label}="{_escape(str(value))}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}" if pairs else name


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


_BUILD_INFO = build_series(
    "wsbridge_build_info", version=__version__, python=".".join(map(str, sys.version_info[:3]))
)


def _label_status(status: int) -> str:
    """Applications can send any status from 200 to 599."""
    return str(status) if status in _STATUSES else f"{status // 100}xx"


def _label_code(code: Optional[int]) -> str:
    """RFC 6455 7.4: below 3000 each code that can be sent has a meaning; peers can send any from there on."""
    if code is None or code < 3000:
        return str(code)
    return "3000-3999" if code < 4000 else "4000-4999"


class Load(NamedTuple):
    """What a member of a `Service` is and holds at one moment.

    ``state`` is a value of the label of ``wsbridge_connections``, None if the
    connection is lost or another member's. ``queued`` and ``unsent`` are bytes
    that the application, and the peer, have not taken. ``info`` is that of a
    WebSocket whose traffic is not counted as that of an ended one yet.
    """

    state: Optional[str] = None
    is_reading_paused: bool = False
    is_writing_paused: bool = False
    queued: int = 0
    unsent: int = 0
    info: Optional[ConnectionInfo] = None


def get_load(member: object) -> Load:
    """The `Load` of a member of a `Service`; a member of a host's own holds nothing."""
    return getattr(member, "measure", Load)()


# The series, each with the counter of a WebSocket that it sums up.
_TRAFFIC = {
    build_series(name, direction=direction): counter
    for name, counters in (
        ("wsbridge_websocket_messages_total", ("messages_received", "messages_sent")),
        ("wsbridge_websocket_bytes_total", ("bytes_received", "bytes_sent")),
        ("wsbridge_deflate_uncompressed_bytes_total", ("bytes_inflated", "bytes_before_compression")),
        ("wsbridge_deflate_compressed_bytes_total", ("bytes_deflated", "bytes_after_compression")),
    )
    for direction, counter in zip(("received", "sent"), counters)
}
_read_traffic = attrgetter(*_TRAFFIC.values())


class Metrics:
    """Counts the connections of ``service``; `collect` returns the values, `render` the text.

    ``connections`` is the number of those that were accepted. ``time`` returns
    seconds since 1970. Any thread may call `collect`.
    """

    def __init__(self, service: Service, time: Callable[[], float] = time.time) -> None:
        self.connections = 0
        self._service = service
        self._started_at = time()
        # The usual ones are there from the start: Prometheus sees no increase in a series that is new.
        self._requests: Counter[Tuple[str, str]] = Counter({("GET", "200"): 0})
        self._handshakes: Counter[str] = Counter({"101": 0})
        self._closes: Counter[Tuple[str, str]] = Counter()
        # Of the WebSockets that have ended.
        self._traffic: Tuple[int, ...] = (0,) * len(_TRAFFIC)
        # Pings by the first bound that they are not above; the last are slower than all.
        self._pings = [0] * (len(_PING_BOUNDS) + 1)
        self._ping_seconds = 0.0
        self._slot: Optional[MetricsSlot] = None
        # What was shown last, and until when it is shown again.
        self._shown: Snapshot = {}
        self._shown_until = -inf

    # -------------------------------------------------------------------- counting

    def count_answer(self, scope: Scope, status: int) -> None:
        """Count the answer to the request of ``scope``."""
        self._count_status(None if scope["type"] == "websocket" else scope["method"], status)

    def count_refusal(self, refused: Refused, status: int) -> None:
        """Count the refusal of a request, or of what its parser has read of it; None if that is nothing."""
        is_handshake = isinstance(refused, RequestReceived) and lists_token(
            refused.values.get(b"upgrade", ()), b"websocket"
        )
        method = "" if refused is None else refused.method.decode("latin-1")
        self._count_status(None if is_handshake else method, status)

    def _count_status(self, method: Optional[str], status: int) -> None:
        label = _label_status(status)
        if method is None:
            self._handshakes[label] += 1
        else:
            self._requests[method if method in _METHODS else "other", label] += 1

    def count_end(self, info: ConnectionInfo) -> None:
        """Count a WebSocket that has ended."""
        self._closes[_label_code(info.code), info.closed_by or "lost"] += 1
        self._traffic = tuple(map(add, self._traffic, _read_traffic(info)))

    def count_ping(self, seconds: float) -> None:
        """Count a ping that was answered after ``seconds``."""
        self._pings[bisect_left(_PING_BOUNDS, seconds)] += 1
        self._ping_seconds += seconds

    # ------------------------------------------------------------------- answering

    def share(self, slot: MetricsSlot) -> None:
        """Keep the values in ``slot`` from now on, and render those of all slots."""
        self._slot = slot
        slot.claim()
        self.publish()

    @property
    def is_shared(self) -> bool:
        """Whether other workers show the values too."""
        return self._slot is not None

    def publish(self) -> None:
        """Write the values of this moment into the slot, if there is one."""
        if self._slot is not None:
            self._slot.write(self._collect_at_times())

    def render(self) -> str:
        """The text, in which those of several workers have the label ``worker``."""
        if self._slot is None:
            return render_metrics({None: self._collect_at_times()})
        self.publish()
        return render_metrics(self._slot.read_all())

    def _collect_at_times(self) -> Snapshot:
        """What `collect` returns, or returned shortly before: frequent scrapes must not take all the time."""
        now = self._service.clock()
        if now >= self._shown_until or not self._service.members:
            self._shown = self.collect()
            beyond = len(self._service.members) - EXACT_UP_TO
            self._shown_until = now + beyond * REUSE_PER_CONNECTION
        return self._shown

    def collect(self) -> Snapshot:
        """The values of this moment, in the order of the text."""
        # Copied in one step, because another thread may call this.
        loads = [get_load(member) for member in self._service.members.copy()]
        values: Snapshot = {_BUILD_INFO: 1, "wsbridge_start_time_seconds": self._started_at}
        values["wsbridge_connections_total"] = self.connections
        states = Counter(load.state for load in loads)
        for state in _STATES:
            values[build_series("wsbridge_connections", state=state)] = states[state]
        for (method, status), count in sorted(self._requests.items()):
            values[build_series("wsbridge_http_requests_total", method=method, code=status)] = count
        for status, count in sorted(self._handshakes.items()):
            values[build_series("wsbridge_handshakes_total", code=status)] = count
        for (code, who), count in sorted(self._closes.items()):
            values[build_series("wsbridge_websocket_closes_total", code=code, by=who)] = count
        open_traffic = [_read_traffic(load.info) for load in loads if load.info is not None]
        values.update(zip(_TRAFFIC, map(sum, zip(self._traffic, *open_traffic))))
        values.update(self._collect_pings())
        paused = {
            "read": sum(load.is_reading_paused for load in loads),
            "write": sum(load.is_writing_paused for load in loads),
        }
        for direction, count in paused.items():
            values[build_series("wsbridge_paused_connections", direction=direction)] = count
        values["wsbridge_queue_bytes"] = sum(load.queued for load in loads)
        if self._service.budget is not None:
            values["wsbridge_inbound_memory_bytes"] = self._service.budget.size
        values["wsbridge_write_buffer_bytes"] = sum(load.unsent for load in loads)
        values["wsbridge_detached_applications"] = len(self._service.detached)
        return values

    def _collect_pings(self) -> Snapshot:
        counts = accumulate(self._pings)
        bounds = (*map(str, _PING_BOUNDS), "+Inf")
        values: Snapshot = {
            build_series("wsbridge_ping_seconds_bucket", le=bound): count
            for bound, count in zip(bounds, counts)
        }
        values["wsbridge_ping_seconds_sum"] = self._ping_seconds
        values["wsbridge_ping_seconds_count"] = sum(self._pings)
        return values


def render_metrics(snapshots: Mapping[Optional[int], Snapshot]) -> str:
    """The text of one server, or of several by the number of the worker, which becomes a label.

    The lines of one name must stand together, behind its HELP and TYPE.
    """
    lines: Dict[str, List[str]] = {name: [] for name in FAMILIES}
    for worker, snapshot in snapshots.items():
        for series, value in snapshot.items():
            name = series.partition("{")[0]
            # A histogram has its name with three endings.
            family = name if name in lines else name.rpartition("_")[0]
            lines[family].append(f"{series if worker is None else _add_worker(series, worker)} {value}\n")
    return "".join(
        f"# HELP {name} {FAMILIES[name].help}\n# TYPE {name} {FAMILIES[name].type}\n{''.join(own)}"
        for name, own in lines.items()
    )


def _add_worker(series: str, worker: int) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{worker="{worker}"{"," + labels if labels else "}"}'
