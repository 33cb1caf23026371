"""Whole requests on one connection, read as RFC 9112 6 and 7 say, and as wsbridge's contract narrows them.

The contract: a chunk size of 15 significant digits, 16 KiB of size lines and line ends beyond 16 bytes for
each chunk and twice its data, trailers with the limits of header lines; HTTP/1.0 closes behind each request;
an opening handshake ends what is read here. How a head is read stands in head_reading.py.
"""

from __future__ import annotations

import re
from typing import FrozenSet, List, Tuple

from .cases import Head, HTTPCase, Outcome, Request, Requests
from .head_reading import FRAMING, HeadReading, is_upgrade
from .line_reading import H11_END, Incomplete, LineReading, Refused, find_values, split_list
from .rulings import LostItsWay, Reading

DIGITS = re.compile(rb"[0-9A-Fa-f]*")
# RFC 9112 7.1.1, loosely: whatever a field value may have, but every quoted string (RFC 9110 5.6.4) ends.
_PAIR = rb"\\[\t -~\x80-\xff]"
_STRING = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|" + _PAIR + rb")*"
OPEN_STRING = re.compile(_STRING + rb"\\?")
ANY_EXTENSIONS = re.compile(rb"(?:[\t !#-~\x80-\xff]|" + _STRING + rb"\")*")
BLANKS = re.compile(rb"[ \t]*")
MAX_SIZE_DIGITS = 15
MAX_OVERHEAD, CHUNK_ALLOWANCE = 16 * 1024, 16
EMPTY_LINES = (b"", b"\r", b"\r\n")

# RFC 9112 7.1.1, without blanks, and with one value of each kind: what llhttp takes.
_T = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
EXTENSIONS = re.compile(rb"(?:;" + _T + rb"(?:=(?:" + _T + rb"|\"[\t !#-\[\]-~]*\"))?)+")


class ChunkReading(LineReading):
    """A chunked body; ``content`` is what was found of it."""

    def __init__(self, data: bytes, position: int, peer: str, granted: FrozenSet[str]) -> None:
        super().__init__(data, position, peer, granted)
        self.content = b""
        self._overhead = 0

    def read(self) -> None:
        while True:
            size = self._read_size()
            if not size:
                break
            # Decided before the data, as what it says of the chunks before is known then.
            self._overhead = max(self._overhead - CHUNK_ALLOWANCE - 2 * size, 0)
            data = self._data[self.position : self.position + size]
            self.content += data
            self.position += len(data)
            if len(data) < size:
                raise Incomplete
            self._end_data()
        self._read_trailers()

    def _read_size(self) -> int:
        """A size line (RFC 9112 7.1): the size, and extensions that are ignored."""
        start = self.position
        if b"\r\n" not in self._data[start:] and self._lets("late"):
            raise Incomplete
        try:
            size = self._read_size_line()
        except Incomplete:
            self._check_overhead(len(self._data) - start)
            raise
        self._check_overhead(self.position - start)
        self._overhead += self.position - start
        return size

    def _check_overhead(self, size: int) -> None:
        if self._overhead + size > MAX_OVERHEAD:
            self._refuse(400, "overhead")

    def _read_size_line(self) -> int:
        start = self.position
        digits, stop = self._take(DIGITS)
        self._check_overhead(self.position + 1 - start)
        if not digits:
            raise Refused(400)
        significant = digits.lstrip(b"0")
        if len(digits) > 20 and self.peer == "h11" and self._lets("size-digits"):
            raise Refused(400)
        if stop not in (b" ", b"\t", b";", b"\r"):
            self._refuse(400, "bare-lf" if stop == b"\n" else "sizes")
        if len(significant) > MAX_SIZE_DIGITS:
            self._refuse(413, "large-sizes")
        if stop in (b" ", b"\t"):
            _, stop = self._take(BLANKS)
            # RFC 9112 7.1.1: BWS stands before the ";" of an extension, and only there.
            if stop != b";":
                self._refuse(400, "size-blanks")
            if self._lets("extension-blanks"):
                raise Refused(400)
        if stop == b";":
            self._read_extensions()
        self._end_line()
        return int(significant or b"0", 16)

    def _read_extensions(self) -> None:
        extensions, stop = self._take(ANY_EXTENSIONS)
        if stop == b'"':
            self._take(OPEN_STRING)
            self._refuse(400, "extensions")
        if stop != b"\r":
            self._refuse(400, "bare-lf" if stop == b"\n" else "extensions")
        if EXTENSIONS.fullmatch(extensions) is None:
            self._lose_way("extension-grammar")
        if self._data[self.position : self.position + 2] not in (b"\r", b"\r\n"):
            self._refuse(400, "extensions")

    def _end_data(self) -> None:
        end = self._data[self.position : self.position + 2]
        if not b"\r\n".startswith(end):
            raise Refused(400)
        self._check_overhead(len(end))
        if len(end) < 2:
            raise Incomplete
        self._overhead += 2
        self.position += 2

    def _read_trailers(self) -> None:
        rest = self._data[self.position :]
        if not rest.startswith((b"\r\n", b"\n")) and H11_END.search(rest) is None and self._lets("late"):
            raise Incomplete
        while self._read_field():
            pass

    def _check_field(self, name: bytes, value: bytes) -> None:
        # RFC 9110 6.5.1: such a field must not be sent in trailers; here they are all ignored.
        if name in FRAMING:
            self._lose_way("trailer-framing")
        if name == b"connection":
            self._lose_way("trailer-connection")


class RequestsReading(Reading):
    def __init__(self, case: HTTPCase, peer: str = "", granted: FrozenSet[str] = frozenset()) -> None:
        super().__init__(peer, granted)
        self._data = b"".join(case.pieces)
        self._position = 0
        self._requests: List[Request] = []
        self._is_lost = False
        try:
            end, status = "", 0
            while not end:
                end, status = self._read_request()
            self.outcome = self._build_outcome(end, status)
        except Refused as refused:
            self.outcome = self._build_outcome("").refuse(0 if peer else refused.status)
        except Incomplete:
            self.outcome = self._build_outcome("incomplete")
        except LostItsWay:
            self.outcome = self._build_outcome("lost")
            self._is_lost = True

    def _build_outcome(self, end: str, status: int = 0) -> Requests:
        return Requests(tuple(self._requests), end, 0 if self.peer else status)

    def explains(self, outcome: Outcome) -> bool:
        if not isinstance(outcome, Requests):
            return False
        if self._is_lost:
            # What was found before stands.
            return outcome.begins_with(self.outcome.requests) and outcome.end in ENDS
        is_early = self.outcome.end == "incomplete" and outcome == self.outcome.refuse()
        return super().explains(outcome) or (is_early and self.deviates(f"{self.peer}-early"))

    def _read_request(self) -> Tuple[str, int]:
        """The end, and the status that tells it, or "" for the end of one request."""
        rest = self._data[self._position :]
        if not rest:
            return "complete", 0
        head = HeadReading(HTTPCase("", (rest,), ()), self.peer, self._granted)
        self.met |= head.met
        if head.is_lost:
            raise LostItsWay
        found = head.outcome
        if found.outcome == "refused":
            raise Refused(found.status)
        if found.outcome == "incomplete":
            return ("complete" if rest in EMPTY_LINES else "incomplete"), 0
        self._position += head.position
        return self._read_body(found)

    def _read_body(self, head: Head) -> Tuple[str, int]:
        bare = head._replace(status=0)
        self._requests.append(Request(bare))
        connection = split_list(head.fields, b"connection")
        if is_upgrade(head.fields):
            self._requests[-1] = Request(bare, b"", True)
            return "upgraded", head.status
        is_upgrading = b"upgrade" in connection and find_values(head.fields, b"upgrade")
        if is_upgrading and self.deviates(f"{self.peer}-any-upgrade"):
            raise LostItsWay
        self._read_content(bare)
        if head.version == "1.0" and b"keep-alive" in connection and self.deviates(f"{self.peer}-keep-alive"):
            return "", 0
        return ("closed" if head.version == "1.0" or b"close" in connection else ""), 0

    def _read_content(self, head: Head) -> None:
        """RFC 9112 6.3: in chunks, of a length, or none."""
        if find_values(head.fields, b"transfer-encoding"):
            chunks = ChunkReading(self._data, self._position, self.peer, self._granted)
            try:
                chunks.read()
            finally:
                self.met |= chunks.met
                self._requests[-1] = Request(head, chunks.content)
            self._position, content = chunks.position, chunks.content
        else:
            lengths = find_values(head.fields, b"content-length")
            length = int(lengths[0]) if lengths else 0
            content = self._data[self._position : self._position + length]
            self._position += len(content)
            if len(content) < length:
                self._requests[-1] = Request(head, content)
                raise Incomplete
        self._requests[-1] = Request(head, content, True)


#: How a reading of requests may end.
ENDS = ("complete", "incomplete", "refused", "closed", "upgraded")
