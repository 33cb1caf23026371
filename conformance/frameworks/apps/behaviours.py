"""What every application does, written once over the few words that all frameworks have.

At /ws/NAME stands the behaviour of that name; at the end of the module, what the pages say.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Iterable, List, Optional, Tuple, Type, Union

from . import LONG_REASON
from .payload import MIB, Tally, make_pieces
from .seen import describe, note, watch

Message = Union[str, bytes]

# The middleware that Starlette and FastAPI share.
CORS: Dict[str, Any] = {
    "allow_origins": ["https://pages.example"],
    "allow_methods": ["POST"],
    "allow_headers": ["Content-Type"],
}


class Talk:
    """A framework's own WebSocket.

    disconnected: what its words raise when the client is gone, as far as a careful application catches it.
    """

    disconnected: Tuple[Type[Exception], ...] = (OSError,)

    async def accept(self, subprotocol: Optional[str] = None) -> None:
        raise NotImplementedError

    async def receive(self, kind: type = str) -> Message:
        """The next message. kind: what the application expects, for frameworks that want to know."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        raise NotImplementedError

    async def close(self, code: int, reason: str = "") -> None:
        raise NotImplementedError


class SocketTalk(Talk):
    """Over a WebSocket that has the words of Starlette's: a receive and a send for text, and for bytes."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket

    async def accept(self, subprotocol: Optional[str] = None) -> None:
        await self._websocket.accept(subprotocol)

    async def receive(self, kind: type = str) -> Message:
        if kind is bytes:
            return await self._websocket.receive_bytes()  # type: ignore[no-any-return]
        return await self._websocket.receive_text()  # type: ignore[no-any-return]

    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            await self._websocket.send_text(message)
        else:
            await self._websocket.send_bytes(message)

    async def close(self, code: int, reason: str = "") -> None:
        await self._websocket.close(code, reason)


async def run(name: str, talk: Talk) -> None:
    """Do what `name` says, and tell how it ended; "careless-NAME" does not catch the disconnect."""
    _, is_careless, rest = name.rpartition("careless-")
    await watch(BEHAVIOURS[rest](talk), () if is_careless else talk.disconnected)


async def echo(talk: Talk, kind: type = str) -> None:
    await talk.accept()
    while True:
        message = await talk.receive(kind)
        note(f"got {message!r}")
        await talk.send(message)


async def push(talk: Talk) -> None:
    await talk.accept()
    while True:
        await talk.send("tick")
        await asyncio.sleep(0.05)


async def push_after_subscribing(talk: Talk) -> None:
    """One task waits in receive(), another pushes; a second passes between the subscription and a tick."""
    await talk.accept()
    note(f"got {await talk.receive()!r}")
    await talk.send("tick")
    reading = asyncio.ensure_future(talk.receive())
    ticking = asyncio.ensure_future(_tick(talk))
    try:
        await asyncio.wait([reading, ticking], return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        ticking.cancel()
        results = await asyncio.gather(reading, ticking, return_exceptions=True)
        note("tasks end with " + ", ".join(describe(result) for result in results))


async def _tick(talk: Talk) -> None:
    while True:
        await asyncio.sleep(1)
        await talk.send("tick")


async def close(talk: Talk) -> None:
    await talk.accept()
    await talk.close(4000, LONG_REASON)


async def close_again(talk: Talk) -> None:
    """Close once more after the disconnect, with the code that came."""
    await talk.accept()
    try:
        while True:
            await talk.receive()
    except talk.disconnected[0] as error:
        note(f"disconnect {error.code}")  # type: ignore[attr-defined]
        await talk.close(error.code, LONG_REASON)  # type: ignore[attr-defined]


async def refuse(talk: Talk, code: int, reason: str) -> None:
    await talk.close(code, reason)


async def accept_late(talk: Talk) -> None:
    """Accept when the client has left."""
    await asyncio.sleep(0.3)
    await talk.accept()


async def choose(talk: Talk) -> None:
    await talk.accept("chat")
    await talk.send("chosen")
    await talk.receive()


async def fail(talk: Talk) -> None:
    await talk.accept()
    raise RuntimeError("on purpose")


async def fail_early(talk: Talk) -> None:
    raise RuntimeError("on purpose")


async def wait_for_cancelled(talk: Talk) -> None:
    """Await something that somebody else cancels."""
    await talk.accept()
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, future.cancel)
    await future


async def leave(talk: Talk) -> None:
    await talk.accept()
    note(f"got {await talk.receive()!r}")
    sys.exit(3)


async def exit_later() -> None:
    sys.exit(3)


async def leave_in_task(talk: Talk) -> None:
    await talk.accept()
    await talk.receive()
    await asyncio.ensure_future(exit_later())


async def leave_in_group(talk: Talk) -> None:
    await talk.accept()
    await talk.receive()
    async with asyncio.TaskGroup() as group:
        group.create_task(exit_later())
        await talk.receive()


async def leave_in_callback(talk: Talk) -> None:
    await talk.accept()
    await talk.receive()
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await talk.receive()


async def interrupt(talk: Talk) -> None:
    await talk.accept()
    await talk.receive()
    raise KeyboardInterrupt


async def clean_up(talk: Talk, seconds: float = 0.5) -> None:
    await talk.accept()
    try:
        while True:
            await talk.receive()
    finally:
        await asyncio.sleep(seconds)
        note("cleaned up")


BEHAVIOURS: Dict[str, Callable[[Talk], Awaitable[None]]] = {
    "echo": echo,
    "echo-bytes": functools.partial(echo, kind=bytes),
    "push": push,
    "push-after-subscribing": push_after_subscribing,
    "close": close,
    "close-again": close_again,
    "refuse-1008": functools.partial(refuse, code=1008, reason="not today"),
    "refuse-403": functools.partial(refuse, code=403, reason=""),
    "refuse-4003": functools.partial(refuse, code=4003, reason=4 * LONG_REASON),
    "accept-late": accept_late,
    "choose": choose,
    "fail": fail,
    "fail-early": fail_early,
    "wait-for-cancelled": wait_for_cancelled,
    "leave": leave,
    "leave-in-task": leave_in_task,
    "leave-in-group": leave_in_group,
    "leave-in-callback": leave_in_callback,
    "interrupt": interrupt,
    "clean-up": clean_up,
    "clean-up-long": functools.partial(clean_up, seconds=11.0),
}


async def stream() -> AsyncIterator[bytes]:
    """The body of a streaming response that says something and then is quiet."""
    try:
        yield b"one\n"
        await asyncio.sleep(4)
        yield b"two\n"
    except BaseException as error:
        note(f"stream ends with {describe(error)}")
        raise
    note("stream ends")


def describe_request(item: Any, query: Any, header: Any, cookie: Any) -> str:
    """What /page/ITEM answers, and /scope/ITEM sends."""
    return repr([item, query, header, cookie])


async def take(pieces: AsyncIterator[bytes]) -> str:
    """Read a body in pieces; what came is the answer. Whoever sends is held up at first."""
    await asyncio.sleep(0.3)
    tally = Tally()
    try:
        async for piece in pieces:
            tally.add(piece)
    except BaseException as error:
        note(f"upload ends with {describe(error)}")
        raise
    note("upload ends")
    return str(tally)


async def give() -> AsyncIterator[bytes]:
    """The body of /download, 100 MiB."""
    for piece in make_pieces(100 * MIB):
        yield piece


async def break_off() -> AsyncIterator[bytes]:
    yield b"one"
    raise RuntimeError("on purpose")


def tally_file(name: str, filename: Any, content_type: Any, content: bytes) -> List[Any]:
    """What /form answers for each file of the form."""
    tally = Tally()
    tally.add(content)
    return [name, filename, content_type, str(tally)]


def describe_form(fields: Iterable[Tuple[str, str]], files: List[Any]) -> Dict[str, Any]:
    """What /form answers, as JSON."""
    return {"fields": [list(field) for field in fields], "files": files}


def describe_json(method: str, value: Any) -> Dict[str, Any]:
    """What /json answers, as JSON."""
    return {"method": method, "json": value}
