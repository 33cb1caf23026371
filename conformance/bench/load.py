"""The load generator: one small process on a core of its own that answers one JSON job a line.

Frames are built before the clock starts, replies are counted in bytes (the first one is read and compared,
the rest have its length), so that a message costs the generator two system calls and about a microsecond of
Python.
Every result says what share of its core the generator used.

    python -I -S load.py < jobs > results
"""

from __future__ import annotations

import errno
import functools
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import frames
else:
    from . import frames

PATIENCE = 20.0
OPENING_AT_ONCE = 16
BUFFER = bytearray(1 << 20)
IP_BIND_ADDRESS_NO_PORT = 24
PAGE = os.sysconf("SC_PAGE_SIZE")

now = time.perf_counter


class Failed(Exception):
    """The server did not do what the workload needs; the text says what."""


class Unsupported(Exception):
    """The server does not offer what the workload measures."""


class Script(NamedTuple):
    """What is sent per message and how many bytes come back for it."""

    frame: bytes
    reply: int


class Usage(NamedTuple):
    """Nanoseconds that the server and the generator ran, and that they waited for their cores."""

    server: int
    load: int
    server_wait: int
    load_wait: int


def read_usage(pids: List[int]) -> Usage:
    server = server_wait = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                ran, waited = read_schedule(f"/proc/{pid}/task/{thread}/schedstat")
            except OSError:  # a thread of a pool that has just ended
                continue
            server += ran
            server_wait += waited
    return Usage(server, time.process_time_ns(), server_wait, read_schedule("/proc/self/schedstat")[1])


def read_schedule(path: str) -> Tuple[int, int]:
    with open(path, "rb") as file:
        ran, waited, _ = file.read().split()
    return int(ran), int(waited)


def read_memory(pids: List[int]) -> int:
    """Resident bytes of the server's processes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/statm", "rb") as file:
            total += int(file.read().split()[1]) * PAGE
    return total


# ---------------------------------------------------------------- opening


_opened = 0


def connect(port: int) -> socket.socket:
    """Connect from one of many loopback addresses, so that ports in TIME_WAIT never run short."""
    global _opened
    _opened += 1
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Plain blocking calls with a kernel timeout: Python's own timeouts would add a poll() to each.
    limit = struct.pack("ll", int(PATIENCE), 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.bind((f"127.0.0.{2 + _opened // 8000 % 200}", 0))
    sock.connect(("127.0.0.1", port))
    return sock


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            raise Failed(f"closed during the opening handshake after {head[:80]!r}")
        head += data
    return head


def check_head(head: bytes, is_floor: bool) -> None:
    if not head.startswith(b"HTTP/1.1 101 "):
        raise Failed(f"refused: {head[:80]!r}")
    if not is_floor and frames.ACCEPT not in head:
        raise Failed("wrong Sec-WebSocket-Accept")


def open_connections(job: Dict[str, Any], count: int) -> List[socket.socket]:
    request, port, is_floor = frames.build_request(job["deflate"]), job["port"], job["is_floor"]
    links: List[socket.socket] = []
    while len(links) < count:
        some = [connect(port) for _ in range(min(OPENING_AT_ONCE, count - len(links)))]
        for sock in some:
            sock.sendall(request)
        for sock in some:
            head = read_head(sock)
            check_head(head, is_floor)
            if job["deflate"] and b"permessage-deflate" not in head.lower():
                raise Unsupported("permessage-deflate is not negotiated")
        links += some
    return links


def abort_connections(links: List[socket.socket]) -> None:
    """Reset them: nothing stays behind in the kernel."""
    for sock in links:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def close_connections(links: List[socket.socket], is_floor: bool) -> None:
    """Close as the protocol says and wait for the server's end, lest its tear-down is measured later."""
    goodbye = frames.build_masked_frame(frames.CLOSE, b"\x03\xe8")
    for sock in links:
        if is_floor:
            sock.shutdown(socket.SHUT_WR)
        else:
            sock.sendall(goodbye)
    for sock in links:
        while sock.recv_into(BUFFER):
            pass
        sock.close()


# ---------------------------------------------------------------- messages


def prepare_script(job: Dict[str, Any], sock: socket.socket) -> Script:
    """Send the message once, check that the very same comes back, and learn how long the reply is."""
    payload = frames.build_payload(job["size"])
    opcode = frames.BINARY if job["binary"] else frames.TEXT
    sent = frames.compress_payload(payload) if job["deflate"] else payload
    frame = frames.build_masked_frame(opcode, sent, rsv1=job["deflate"])
    if job["is_floor"]:
        return Script(frame, len(frame))
    lengths = set()
    for _ in range(2):
        sock.sendall(frame)
        data = b""
        while True:
            data += sock.recv(1 << 20) or fail("closed instead of echoing")
            try:
                got_opcode, got, rsv1, used = frames.parse_message(data)
                break
            except IndexError:
                continue
        if got_opcode != opcode or (frames.inflate_payload(got) if rsv1 else got) != payload:
            raise Failed(f"the echo of {job['size']} bytes is not what was sent")
        if used != len(data):
            raise Failed("more than one answer came to one message")
        lengths.add(used)
    if len(lengths) != 1:
        raise Failed("two answers to the same message differ in length: a context is taken over")
    return Script(frame, lengths.pop())


def fail(reason: str) -> bytes:
    raise Failed(reason)


Exchange = Callable[[float], int]


def exchange_alone(sock: socket.socket, script: Script) -> Exchange:
    """One connection, one message in flight."""
    send, receive, buffer, (frame, reply) = sock.sendall, sock.recv_into, BUFFER, script

    def run(seconds: float) -> int:
        count, deadline = 0, now() + seconds
        while True:
            send(frame)
            left = reply
            while left > 0:
                got = receive(buffer)
                if not got:
                    raise Failed("closed while being measured")
                left -= got
            count += 1
            if now() >= deadline:
                return count

    return run


def exchange_window(sock: socket.socket, script: Script, in_flight: int) -> Exchange:
    """One connection, `in_flight` messages under way: a read of answers is followed by a write of as many."""
    send, receive, buffer, (frame, reply) = sock.sendall, sock.recv_into, BUFFER, script
    burst = memoryview(frame * in_flight)
    length = len(frame)

    def run(seconds: float) -> int:
        count, sent, pending, deadline = 0, in_flight, 0, now() + seconds
        send(burst)
        while count < sent:
            got = receive(buffer)
            if not got:
                raise Failed("closed while being measured")
            pending += got
            done = pending // reply
            if done:
                pending -= done * reply
                count += done
                if now() < deadline:
                    send(burst[: done * length])
                    sent += done
        return count

    return run


def exchange_crowd(links: List[socket.socket], script: Script) -> Exchange:
    """Many connections, one message in flight on each."""
    frame, reply = script
    poller = select.epoll()
    senders: Dict[int, Tuple[Any, Any]] = {}
    left: Dict[int, int] = {}
    for sock in links:
        sock.setblocking(False)
        poller.register(sock.fileno(), select.EPOLLIN)
        senders[sock.fileno()] = (sock.send, sock.recv_into)
    length, buffer = len(frame), BUFFER

    def run(seconds: float) -> int:
        count, busy, deadline = 0, len(links), now() + seconds
        for number, (send, _) in senders.items():
            if send(frame) != length:
                raise Failed("the socket buffer does not hold one message")
            left[number] = reply
        while busy:
            ready = poller.poll(PATIENCE)
            if not ready:
                raise Failed("no answer while being measured")
            goes_on = now() < deadline
            for number, _ in ready:
                send, receive = senders[number]
                got = receive(buffer)
                if not got:
                    raise Failed("closed while being measured")
                rest = left[number] - got
                if rest:
                    left[number] = rest
                    continue
                count += 1
                if goes_on:
                    if send(frame) != length:
                        raise Failed("the socket buffer does not hold one message")
                    left[number] = reply
                else:
                    busy -= 1
        return count

    return run


def build_exchange(links: List[socket.socket], script: Script, in_flight: int) -> Exchange:
    if len(links) > 1:
        return exchange_crowd(links, script)
    if in_flight > 1:
        return exchange_window(links[0], script, in_flight)
    return exchange_alone(links[0], script)


def measure(job: Dict[str, Any], run: Callable[[], int]) -> Dict[str, Any]:
    before, started = read_usage(job["pids"]), now()
    count = run()
    seconds, after = now() - started, read_usage(job["pids"])
    server, load, server_wait, load_wait = ((late - early) / 1e9 for early, late in zip(before, after))
    return {
        "count": count,
        "seconds": seconds,
        "per_second": count / seconds,
        "server_ns": server * 1e9 / count,
        "server_share": server / seconds,
        "load_share": load / seconds,
        # The threads of one server wait for each other too; only one thread waits for strangers alone.
        "waiting": (load_wait if job["is_threaded"] else max(server_wait, load_wait)) / seconds,
    }


# ---------------------------------------------------------------- jobs


def run_echo(job: Dict[str, Any]) -> Dict[str, Any]:
    """Messages there and back: connections, in_flight, size, binary, deflate, seconds."""
    links: List[socket.socket] = []
    try:
        links = open_connections(job, job["connections"])
        script = prepare_script(job, links[0])
        exchange = build_exchange(links, script, job["in_flight"])
        exchange(job["warm_up"])
        result = measure(job, lambda: exchange(job["seconds"]))
        result["reply_bytes"] = script.reply
        for sock in links:
            sock.setblocking(True)
        close_connections(links, job["is_floor"])
        links = []
        return result
    finally:
        abort_connections(links)


def run_handshakes(job: Dict[str, Any]) -> Dict[str, Any]:
    """Connect, upgrade, close, `connections` of them at a time."""
    shake_hands(job, job["warm_up"])
    return measure(job, lambda: shake_hands(job, job["seconds"]))


def shake_hands(job: Dict[str, Any], seconds: float) -> int:
    request, port, is_floor = frames.build_request(False), job["port"], job["is_floor"]
    goodbye = frames.build_masked_frame(frames.CLOSE, b"\x03\xe8")
    poller = select.epoll()
    links: Dict[int, Tuple[socket.socket, bool]] = {}

    def begin() -> None:
        sock = connect(port)
        sock.sendall(request)
        poller.register(sock.fileno(), select.EPOLLIN)
        links[sock.fileno()] = (sock, False)

    for _ in range(job["connections"]):
        begin()
    count, deadline = 0, now() + seconds
    while links:
        ready = poller.poll(PATIENCE)
        if not ready:
            raise Failed("no end of the closing handshake")
        for number, _ in ready:
            sock, is_open = links[number]
            data = sock.recv(4096)
            if not is_open:
                if b"\r\n\r\n" not in data:
                    data += read_head(sock)
                check_head(data, is_floor)
                links[number] = (sock, True)
                if is_floor:
                    sock.shutdown(socket.SHUT_WR)
                else:
                    sock.sendall(goodbye)
            elif not data:
                del links[number]
                sock.close()
                count += 1
                if now() < deadline:
                    begin()
    return count


def run_crowd(job: Dict[str, Any]) -> Dict[str, Any]:
    """Resident memory of ever more idle connections, and what a message costs among them."""
    links = open_connections(job, 1)
    try:
        script = prepare_script(job, links[0])
        build_exchange(links, script, 1)(job["warm_up"])
        empty, steps = read_memory(job["pids"]), []
        for step in job["steps"]:
            started = now()
            links += open_connections(job, step - len(links))
            opening = now() - started
            time.sleep(job["settle"])
            memory = read_memory(job["pids"])
            exchange = build_exchange(links, script, 1)
            exchange(job["warm_up"])
            result = measure(job, functools.partial(exchange, job["seconds"]))
            result.update(connections=step, memory=(memory - empty) / (step - 1), opening_seconds=opening)
            steps.append(result)
            for sock in links:
                sock.setblocking(True)
        return {"steps": steps}
    finally:
        abort_connections(links)


JOBS = {"echo": run_echo, "handshakes": run_handshakes, "crowd": run_crowd}


def answer(job: Dict[str, Any]) -> Dict[str, Any]:
    try:
        return JOBS[job["kind"]](job)
    except Unsupported as error:
        return {"unsupported": str(error)}
    except Failed as error:
        return {"failed": str(error)}
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        return {"failed": f"{name}: {error.strerror}"}


def main() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
