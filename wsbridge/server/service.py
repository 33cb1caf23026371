"""`Service`: what all connections of a server share; the application, the configuration, and one timer."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
from math import inf
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Coroutine,
    Dict,
    List,
    Optional,
    Tuple,
    TypeVar,
    Union,
)

from ..asgi.types import Application, HeaderPairs, Scope
from ..config import ServerConfig
from ..protocols.errors import RequestRefused
from ..protocols.masking import prefer_libcrypto
from .budget import Budget
from .clients import Clients
from .clocks import choose_clock, get_date, get_no_date
from .detached import Detached
from .listening.descriptors import HINT, OUT_OF_DESCRIPTORS, find_reserved
from .logs.log import SafeLogger, access_logger, error_logger, log_answer, log_end, log_refusal
from .member import Member, WaitingMember
from .metrics.metrics import Metrics, get_load
from .metrics.own_paths import OwnPaths
from .plain import Waker
from .signals import may_be_ctrl_c
from .speed import SPEED

if TYPE_CHECKING:
    from .connection.info import ConnectionInfo

__all__ = ["Service"]

# Seconds between two checks of all deadlines, and so the most by which one is late. A sweep costs time for
# every connection.
SWEEP_INTERVAL = 0.25

# Seconds. If a sweep is this late, an application has blocked the loop, or the machine has slept.
BLOCKED = 1.0

# Seconds in which a cancelled application must end.
ABORT_TIMEOUT = 1.0

# Seconds for what is on its way when the server stops; see `Service.stop_grace`.
STOP_GRACE = 1.0

# Seconds between two warnings that no connection can be accepted.
ACCEPT_WARNING_INTERVAL = 1.0

T = TypeVar("T")


class Service:
    """The connections of one server, with one timer that checks their deadlines.

    ``app`` is the application, ``config`` a `ServerConfig`, ``state`` the
    lifespan's. ``clock`` returns a monotonic time in seconds, by default the
    loop's; ``date`` the value of a Date header, by default the current time, or
    None for no such header. Create it inside a running loop. Raises `TypeError`
    for an ``app`` or ``config`` of another type.

    A server of another kind uses a subclass. It may override `get_headers`,
    ``log_answer``, `log_end`, `log_refusal`, `create_task` and
    `is_from_outside`, and set ``access_logger`` and `logger`.

    ``parent`` is a service whose timer checks these connections too, and whose
    end is theirs; ``clock`` and ``date`` default to the parent's, and so does
    what its class overrides. `handle_websocket` makes such a service for each
    connection, so that its end can be awaited.

    Attributes besides these: ``access_logger``, which gets a line for every
    answer, refusal and end of a WebSocket, or None for no such lines; ``loop``,
    the event loop; ``context``, that of callbacks which run nothing of the
    application's; ``members``, the connections; ``lingering``, those of them
    that only wait for their peer to close; ``waiting``, those whose first request
    has not come whole, the first first; ``detached``, those whose application
    goes on after its disconnect, with the time of the disconnect; ``budget``, the
    memory for what they have received, None if it has no limit; ``clients``, how
    many each client has, None if that has no limit; ``metrics``, None without
    ``metrics_path``; ``own_paths``, the paths that are answered in place of the application, None
    if there are none; ``is_stopping``; ``abandoned``, the number of applications
    that ignored their cancellation when the server stopped; ``waker``, which
    resumes applications; ``next_accept_warning``, the loop's time from which on a
    `Listener` may warn again; ``has_refused``, whether since the last sweep a
    connection was refused because there were too many; ``reserved_descriptor``,
    the lowest of those in which nobody is served.
    """

    def __init__(
        self,
        app: Application,
        config: ServerConfig,
        *,
        state: Optional[Dict[str, Any]] = None,
        clock: Optional[Callable[[], float]] = None,
        date: Optional[Callable[[], Optional[bytes]]] = None,
        parent: Optional[Service] = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app must be an ASGI application, not {app!r:.80}")
        if not isinstance(config, ServerConfig):
            raise TypeError(f"config must be a ServerConfig, not {config!r:.80}")
        if os.environ.get("WSBRIDGE_MASKING") != "python":
            prefer_libcrypto()
        self.app = app
        self.config = config
        self.state = state
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        # Dicts: they keep the order of arrival, and remove in constant time.
        self.lingering: Dict[Member, None] = {}
        self.waiting: Dict[WaitingMember, None] = {}
        self.detached = Detached()
        # With the one of these three that a member may be in as well.
        self.members: Dict[Member, Optional[Dict[Any, Any]]] = {}
        self.next_accept_warning = -inf
        self.has_refused = False
        self.is_stopping = False
        self.abandoned = 0
        self.clients: Optional[Clients] = None
        self.budget: Optional[Budget] = None
        self.metrics: Optional[Metrics] = None
        self.own_paths: Optional[OwnPaths] = None
        # What closes the members, while `begin_shutdown` gathers them for ``drain_seconds``.
        self._closes: Optional[List[Callable[[], None]]] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        # Whether the last sweep was skipped because the loop had been blocked.
        self._has_skipped_sweep = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._parent = parent
        if parent is None:
            self._set_up(clock, date)
        else:
            self._share(parent, clock, date)
        if self.own_paths is not None:
            self.app = self.own_paths.answer_for(app)

    def _set_up(
        self, clock: Optional[Callable[[], float]], date: Optional[Callable[[], Optional[bytes]]]
    ) -> None:
        """Make what a service without a parent has of its own."""
        config = self.config
        self.clock: Callable[[], float] = clock or choose_clock(self.loop)
        self.date: Callable[[], Optional[bytes]] = date or (get_date if config.date_header else get_no_date)
        self.waker: Waker = SPEED.build_waker(self.loop)
        self.reserved_descriptor: float = find_reserved()
        self.access_logger: Optional[logging.Logger] = access_logger if config.access_log else None
        self._logger = error_logger
        self._headers = config.default_headers
        if config.limit_connections_per_client is not None:
            self.clients = Clients(config.limit_connections_per_client, config.trusted_peers)
        if config.max_inbound_memory is not None:
            self.budget = Budget(config.max_inbound_memory, config.ws_max_size, self.clock)
        if config.health_path is not None or config.metrics_path is not None:
            self._add_own_paths()

    def _share(
        self,
        parent: Service,
        clock: Optional[Callable[[], float]],
        date: Optional[Callable[[], Optional[bytes]]],
    ) -> None:
        """Have in common with ``parent`` what `_set_up` makes."""
        self.clock = clock or parent.clock
        self.date = date or parent.date
        self.waker = parent.waker
        self.reserved_descriptor = parent.reserved_descriptor
        self.access_logger, self._logger = parent.access_logger, parent.logger
        self._headers = parent.get_headers()
        self.clients, self.budget = parent.clients, parent.budget
        self.is_stopping = parent.is_stopping
        self.metrics, self.own_paths = parent.metrics, parent.own_paths

    def _add_own_paths(self) -> None:
        if self.config.metrics_path is not None:
            self.metrics = Metrics(self)
        self.own_paths = OwnPaths(self.config, lambda: self.is_stopping, self.metrics)
        # Shadows the method, and a subclass's: a test in it would cost every answer.
        self.log_answer = functools.partial(  # type: ignore[method-assign]
            self._log_counted_answer, self.own_paths, self.log_answer
        )

    def _log_counted_answer(
        self, own_paths: OwnPaths, log: Callable[[Scope, int], None], scope: Scope, status: int
    ) -> None:
        """Count and log an answer, unless the server itself has answered."""
        if own_paths.include_page(scope):
            return
        if self.metrics is not None:
            self.metrics.count_answer(scope, status)
        log(scope, status)

    @property
    def logger(self) -> SafeLogger:
        """Gets the lines that are no access lines; may be set to any `logging.Logger`."""
        return self._logger

    @logger.setter
    def logger(self, logger: Union[logging.Logger, SafeLogger]) -> None:
        self._logger = SafeLogger(logger) if isinstance(logger, logging.Logger) else logger

    def get_headers(self) -> HeaderPairs:
        """The headers that every answer begins with, 101 included; those of the configuration by default."""
        return self._headers

    def log_answer(self, scope: Scope, status: int) -> None:
        """Log that the request of ``scope`` was answered with ``status``."""
        if self._parent is not None:
            self._parent.log_answer(scope, status)
            return
        logger = self.access_logger
        if logger is not None and logger.isEnabledFor(logging.INFO):
            log_answer(scope, status, logger)

    def log_end(self, info: ConnectionInfo) -> None:
        """Log that the WebSocket of ``info``, which was accepted, has ended; called once for each."""
        if self._parent is not None:
            self._parent.log_end(info)
        elif self.access_logger is not None and self.access_logger.isEnabledFor(logging.INFO):
            log_end(info, self.access_logger)

    def log_refusal(
        self,
        client: Optional[Tuple[str, int]],
        method: bytes,
        target: bytes,
        refusal: RequestRefused,
        hint: Optional[str] = None,
        *,
        is_answered: bool = False,
    ) -> None:
        """Log that the server itself refuses a request; ``hint``: what is most likely wrong.

        Method and target are empty if the request was refused before its target had ended.
        ``is_answered``: the response has begun, and the connection ends.
        """
        if self._parent is not None:
            self._parent.log_refusal(client, method, target, refusal, hint, is_answered=is_answered)
        elif self.access_logger is not None and self.access_logger.isEnabledFor(logging.INFO):
            log_refusal(self.access_logger, client, method, target, refusal, hint, is_answered=is_answered)

    def create_task(self, application: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start the task in which the application of one connection or request runs."""
        owner = self.loop if self._parent is None else self._parent
        return owner.create_task(application)

    def is_from_outside(self, error: BaseException) -> bool:
        """Whether ``error``, which left an application, is the embedding program's and is raised on to it.

        By default a KeyboardInterrupt that may be a Ctrl-C. Whatever else leaves an application is logged,
        and its client gets 500 or 1011.
        """
        if self._parent is not None:
            return self._parent.is_from_outside(error)
        return may_be_ctrl_c(error)

    def free_descriptors(self) -> None:
        """File descriptors run out: cut the oldest connections that are not served, and warn."""
        self.has_refused = True
        groups: Tuple[Dict[Any, None], ...] = (self.lingering, self.waiting)
        for group in groups:
            for member in group:
                # Not the same one again: most transports tell of their end in the loop's next turn.
                del group[member]
                member.abort()
                break
        self.warn_of_accepting(f"{OUT_OF_DESCRIPTORS}; {HINT}")

    def warn_of_accepting(self, why: object) -> None:
        """Warn, once a second, that connections cannot be accepted."""
        now = self.loop.time()
        if now >= self.next_accept_warning:
            self.next_accept_warning = now + ACCEPT_WARNING_INTERVAL
            self.logger.warning("cannot accept connections for now: %s", why)

    def get_deadline(self, timeout: Optional[float]) -> float:
        """The time ``timeout`` seconds from now, by the service's clock; infinity if it is None."""
        return inf if timeout is None else self.clock() + timeout

    @property
    def stop_grace(self) -> float:
        """Seconds that a server which stops waits for a request or an accept that is on its way.

        Those for a request begin with the connection, the last response, or the first byte of the head, for
        all else with the stop. Of a short ``timeout_graceful_shutdown`` they are an eighth: who waits is
        answered before the abort.
        """
        timeout = self.config.timeout_graceful_shutdown
        return STOP_GRACE if timeout is None else min(STOP_GRACE, timeout / 8)

    def add(self, member: Member) -> None:
        """Check the deadlines of ``member`` from now on. One that lingers does so no more."""
        if not self.members:
            self._is_empty.clear()
        self.lingering.pop(member, None)
        self.members[member] = None
        if self._parent is not None:
            self._parent.add(member)
        elif self._timer is None:
            self._timer = self.loop.call_later(SWEEP_INTERVAL, self._tick)

    def replace(self, member: Member, successor: Member) -> None:
        """Have ``successor`` take the place of ``member``, as `add` and `discard` do, in less time."""
        del self.members[member]
        self.members[successor] = None
        if self._parent is not None:
            self._parent.replace(member, successor)

    def add_waiting(self, member: WaitingMember) -> None:
        """Note that the first request of ``member`` has not come whole."""
        self.waiting[member] = None
        self.members[member] = self.waiting

    def add_lingering(self, member: Member) -> None:
        """`add` a member that only waits for its peer to close: ``limit_concurrency`` does not count it.

        At most ``limit_concurrency`` members may linger: beyond that the oldest is aborted.
        """
        self.add(member)
        self.lingering[member] = None
        self.members[member] = self.lingering
        if self._parent is not None:
            self._parent.add_lingering(member)
        limit = self.config.limit_concurrency
        if limit is not None and len(self.lingering) > limit:
            next(iter(self.lingering)).abort()
        if self.is_stopping:
            # `begin_shutdown` did not meet it, and its own service may not know that the parent stops.
            member.shut_down()

    def add_detached(self, member: Member) -> None:
        """Note that the application of ``member`` goes on after its disconnect."""
        self.detached[member] = self.clock()
        self.members[member] = self.detached
        if self._parent is not None:
            self._parent.add_detached(member)

    @property
    def open_connections(self) -> int:
        """The number of connections that ``limit_concurrency`` counts.

        It leaves out those that only wait for their peer to close, and those whose application goes on after
        the disconnect.
        """
        return len(self.members) - len(self.lingering) - len(self.detached)

    def discard(self, member: Member) -> None:
        """Remove a member that has ended; discarding it twice is no error."""
        group = self.members.pop(member, None)
        if group is not None:
            group.pop(member, None)
        if group is not self.lingering:
            self.waker.forget(member)
        if self.budget is not None:
            self.budget.forget(member)
        if self._parent is not None:
            self._parent.discard(member)
        if not self.members:
            self._is_empty.set()
            if self.metrics is None or not self.metrics.is_shared:
                self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        # A loop that was blocked may run its timers before it reads what has come meanwhile (uvloop does).
        # Skip one sweep, so that no peer is aborted for silence while its bytes wait to be read.
        late = 0.0 if self._timer is None else self.loop.time() - self._timer.when()
        was_blocked = late > BLOCKED
        if was_blocked:
            self.logger.warning("event loop was blocked for %.1f s: an application must not wait in it", late)
        self._timer = self.loop.call_later(SWEEP_INTERVAL, self._tick)
        self._has_skipped_sweep = was_blocked and not self._has_skipped_sweep
        if not self._has_skipped_sweep:
            self.sweep()
        if self.metrics is not None:
            self.metrics.publish()
        if not self.members:
            # What was true without members is published now.
            self._stop_timer()

    def sweep(self) -> None:
        """Have every member check its deadlines."""
        now = self.clock()
        if self.budget is not None:
            self.budget.sweep()
        self._call_all(lambda member: member.check_deadlines(now))
        self.has_refused = False
        excess = self.detached.find_excess(now)
        if excess is not None:
            self.logger.warning("%d applications go on after their disconnect: see timeout_app", excess)

    def _call_all(self, call: Callable[[Member], None]) -> None:
        for member in tuple(self.members):
            try:
                call(member)
            except Exception:
                # An application's `trace` may raise, for example. The other members must still be called.
                self.logger.exception("connection failed and is aborted")
                member.abort()

    def begin_shutdown(self) -> None:
        """Refuse new connections, and close every open one in an orderly way: a WebSocket with 1012.

        Returns at once; `wait_until_empty` waits for their end. A second call does nothing.
        """
        if self.is_stopping:
            return
        self.is_stopping = True
        detached = self.detached.count_long(self.clock())
        if detached:
            self.logger.info("%d applications go on after their disconnect", detached)
        drain = self.config.drain_seconds
        closes: List[Callable[[], None]] = []
        self._closes = closes if drain else None
        self._call_all(lambda member: member.shut_down())
        self._closes = None
        for index, close in enumerate(closes):
            self.loop.call_later(drain * index / len(closes), close)

    def close_in_turn(self, close: Callable[[], None]) -> None:
        """Call ``close``: now, or, while `begin_shutdown` calls all members, when its turn has come.

        The turns are spread evenly over ``drain_seconds``.
        """
        if self._closes is None:
            close()
        else:
            self._closes.append(close)

    async def shut_down(self, timeout: Optional[float]) -> None:
        """`begin_shutdown`, then abort the connections that are left before ``timeout``.

        The last second of ``timeout``, or its second half if it is shorter than
        two seconds, is left for cancelled applications to end. With None it
        waits until every connection has ended.
        """
        self.begin_shutdown()
        if not await self._is_empty_within(timeout and max(timeout - ABORT_TIMEOUT, timeout / 2)):
            count = sum(map(self._is_cut, self.members))
            if count:
                self.logger.warning("connections that did not close in time and are aborted: %d", count)
            self.abort()
            await self.wait_until_empty()
        if self.members:
            self.abandoned = len(self.members)
            self.logger.error("%d applications ignore their cancellation", self.abandoned)

    def _is_cut(self, member: Member) -> bool:
        """Whether an abort loses anything: most members that linger only wait for their peer to close."""
        return member not in self.lingering or get_load(member).unsent > 0

    async def wait_until_empty(self) -> None:
        """Wait until every connection, and every application, has ended."""
        await self._is_empty.wait()

    async def _is_empty_within(self, timeout: Optional[float]) -> bool:
        try:
            await asyncio.wait_for(self.wait_until_empty(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    def abort(self) -> None:
        """End every connection now; `wait_until_empty` then waits `ABORT_TIMEOUT` at most."""
        for member in tuple(self.members):
            member.abort()
        self.loop.call_later(ABORT_TIMEOUT, self._is_empty.set)
