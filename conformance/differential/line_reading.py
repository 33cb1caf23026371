"""Header lines, read as RFC 9112 5 says: what a head and the trailers behind a body have in common.

Where a peer lets pass what is refused here, it is not followed further. The switches of h11 and httptools may
let more pass than these two do: where they refuse as wsbridge does, there is nothing to explain.
"""

from __future__ import annotations

import re
from typing import FrozenSet, Iterable, List, Tuple

from ..lib.hostile.heads import MAX_FIELDS, MAX_LINE
from .cases import Field
from .rulings import LostItsWay, Reading

TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]*")  # RFC 9110 5.6.2
VALUE = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9110 5.5
H11_END = re.compile(rb"\n\r?\n")


class Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Incomplete(Exception):
    pass


class LineReading(Reading):
    """Reads ``data`` from ``position`` on."""

    def __init__(self, data: bytes, position: int, peer: str, granted: FrozenSet[str]) -> None:
        super().__init__(peer, granted)
        self.position = position
        self.fields: List[Field] = []
        self._data = data
        self._start = position
        self._is_first_line = False

    def _lets(self, name: str) -> bool:
        """Whether the peer has this switch, and it is granted; asked only where it matters."""
        return self.deviates(f"{self.peer}-{name}")

    def _refuse(self, status: int, name: str) -> None:
        """Raise `Refused`, unless it is known that the peer lets this pass."""
        raise LostItsWay if self._lets(name) else Refused(status)

    def _lose_way(self, name: str) -> None:
        """Raise `LostItsWay` if it is known that the peer reads this in another way."""
        if self._lets(name):
            raise LostItsWay

    def _read_field(self) -> bool:
        """One header line; False for the empty line that ends the head."""
        name, stop = self._take(TOKEN)
        if not name and stop == b"\r":
            self._end_line()
            return False
        if not name and stop in (b" ", b"\t", b"\n"):
            self._refuse(400, "bare-lf" if stop == b"\n" else "folds")
        if stop != b":" or not name:
            raise Refused(400)
        if len(self.fields) >= MAX_FIELDS:
            self._refuse(431, "limits")
        self.position += 1
        raw = self._take_rest(VALUE, "control-bytes")
        name, value = name.lower(), raw.strip(b" \t")
        if name == b"transfer-encoding" and b"\t" in raw[len(raw.rstrip(b" \t")) :]:
            self._lose_way("coding-blanks")
        self._check_field(name, value)
        if raw.rstrip(b" \t") != raw and value and self._lets("trailing-blanks"):
            value = raw.lstrip(b" \t")
        if name == b"transfer-encoding" and value != value.lower() and self._lets("coding-case"):
            value = value.lower()
        self.fields.append((name, value))
        self._end_line()
        return True

    def _check_field(self, name: bytes, value: bytes) -> None:
        """Refuse a header line that breaks a rule."""

    # -------------------------------------------------------------------------------- scanning

    def _take(self, pattern: re.Pattern[bytes]) -> Tuple[bytes, bytes]:
        """The run of bytes from here that `pattern` allows, and the byte that ends it."""
        run = pattern.match(self._data, self.position)
        end = run.end() if run is not None else self.position
        stop = self._data[end : end + 1]
        size = end - self._start
        is_over = size > MAX_LINE or (size == MAX_LINE and stop not in (b"\r", b""))
        if self._is_first_line and is_over:
            self._refuse(414, "limits")
        if not stop:
            raise Incomplete
        taken = self._data[self.position : end]
        self.position = end
        return taken, stop

    def _take_rest(self, pattern: re.Pattern[bytes], name: str) -> bytes:
        """The run up to the line's end; name: what is broken where it ends otherwise."""
        rest, stop = self._take(pattern)
        if stop != b"\r":
            self._refuse(400, "bare-lf" if stop == b"\n" else name)
        return rest

    def _end_line(self) -> None:
        end = self._data[self.position : self.position + 2]
        if end == b"\r":
            raise Incomplete
        if end != b"\r\n":
            raise Refused(400)
        self.position += 2


def find_values(fields: Iterable[Field], *names: bytes) -> List[bytes]:
    return [value for name, value in fields if name in names]


def split_list(fields: Iterable[Field], name: bytes) -> List[bytes]:
    elements = b",".join(find_values(fields, name)).split(b",")
    return [element.strip(b" \t").lower() for element in elements if element.strip(b" \t")]
