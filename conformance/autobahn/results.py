"""What the suite found: one `Result` per case, with its verdict."""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import Any, Dict, Iterable, Mapping, Optional

from .compression import Compression, read_compression
from .record import get_section

GOOD = ("OK", "INFORMATIONAL")
MISSING = "MISSING"

# The colours of behaviours on the page; others are failures. The good ones come first.
OUTCOMES = {"OK": "ok", "INFORMATIONAL": "info", "NON-STRICT": "warn", "UNIMPLEMENTED": "none"}


class Result:
    """One case: wstest's record of it, made ready to judge and to show.

    role: that of the implementation under test. page: where wstest's own page of the case is, or "".
    """

    def __init__(self, case: str, record: Optional[Mapping[str, Any]], role: str, page: str = "") -> None:
        self.case = case
        self.page = page
        self._record: Mapping[str, Any] = record or {}
        self.behavior = str(self._record.get("behavior", MISSING))
        self.behavior_close = str(self._record.get("behaviorClose", MISSING))
        self.close_code: Optional[int] = self._record.get("remoteCloseCode")
        self.milliseconds = int(self._record.get("duration", 0))
        self.compression: Optional[Compression] = None
        if record is not None and get_section(case) in ("12", "13"):
            self.compression = read_compression(case, record, role)

    @property
    def complaint(self) -> str:
        """Why the suite's OK is not enough, or ""."""
        return self.compression.complaint if self.compression is not None else ""

    @property
    def is_good(self) -> bool:
        return self.behavior in GOOD and self.behavior_close in GOOD and not self.complaint

    @property
    def outcome(self) -> str:
        """The word for the report's colours."""
        is_worse_than_told = self.behavior in GOOD and not self.is_good
        return "fail" if is_worse_than_told else OUTCOMES.get(self.behavior, "fail")

    @property
    def verdict(self) -> str:
        """The behaviour in a few words, with that of the closing handshake where it is not OK."""
        words = [self.behavior]
        if self.behavior_close not in GOOD and self.behavior_close != self.behavior:
            words.append(f"closing: {self.behavior_close}")
        return ", ".join(words + [self.complaint] * bool(self.complaint))

    @property
    def key(self) -> str:
        """All of it that must not change from run to run: behaviour, closing, close code, extension."""
        parts = [self.behavior, self.behavior_close, str(self.close_code)]
        if self.compression is not None:
            parts.append(self.compression.agreed)
        return " / ".join(parts)

    def get_text(self, name: str) -> str:
        """A text of wstest's record without its markup, such as "result"."""
        text = html.unescape(re.sub(r"<[^>]*>", " ", str(self._record.get(name) or "")))
        return " ".join(text.split())


def count_behaviors(results: Iterable[Result]) -> Dict[str, int]:
    """How often each behaviour occurs, the good ones first."""
    counts = Counter(result.behavior for result in results)
    return {name: counts[name] for name in [*OUTCOMES, *counts.keys() - OUTCOMES.keys()] if counts[name]}
