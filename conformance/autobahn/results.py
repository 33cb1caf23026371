"""What the suite found: one `Result` per case, its verdict, and the record that is committed."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .cases import CASES, DEFLATE_PARAMETERS, DEFLATE_SIZES, SUITE_VERSION, get_section

GOOD = ("OK", "INFORMATIONAL")
MISSING = "MISSING"

# Wire log entries of wstest: what each tag means.
_TIMERS = {
    "CT": "WAIT {0} s, then {1}",
    "CTE": "WAITED, now {0}",
    "KL": "FAIL THE CONNECTION AFTER {0} s",
    "KLE": "FAILING THE CONNECTION",
    "TI": "CLOSE AFTER {0} s",
    "TIE": "CLOSING",
    "WLM": "LOG {0}",
}
_OPCODES = {0: "CONTINUATION", 1: "TEXT", 2: "BINARY", 8: "CLOSE", 9: "PING", 10: "PONG"}


class Compression(NamedTuple):
    """What a case of 12.* or 13.* negotiated, and how small its messages became.

    ratio_in, ratio_out: bytes on the wire (without headers) over bytes of the messages, of the echoes and
    of what the suite itself sent; None when the case did not get to its end.
    """

    offered: str
    agreed: str
    ratio_in: Optional[float]
    ratio_out: Optional[float]
    complaint: str


class Result:
    """One case: wstest's record of it, made ready to judge and to show."""

    def __init__(self, case: str, record: Optional[Mapping[str, Any]], role: str) -> None:
        self.case = case
        self.record: Mapping[str, Any] = record or {}
        self.behavior = str(self.record.get("behavior", MISSING))
        self.behavior_close = str(self.record.get("behaviorClose", MISSING))
        self.close_code: Optional[int] = self.record.get("remoteCloseCode")
        self.milliseconds = int(self.record.get("duration", 0))
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
        if self.is_good:
            return "info" if "INFORMATIONAL" in (self.behavior, self.behavior_close) else "ok"
        if self.behavior == "UNIMPLEMENTED":
            return "none"
        if self.behavior in ("NON-STRICT", *GOOD) and not self.complaint:
            return "fail" if self.behavior_close in ("FAILED", "UNCLEAN", MISSING) else "warn"
        return "fail"

    @property
    def verdict(self) -> str:
        """The behaviour in a few words, with that of the closing handshake where it is not OK."""
        words = [self.behavior]
        if self.behavior_close not in GOOD and self.behavior_close != self.behavior:
            words.append(f"closing: {self.behavior_close}")
        if self.complaint:
            words.append(self.complaint)
        return ", ".join(words)

    @property
    def key(self) -> str:
        """All of it that must not change from run to run."""
        parts = [self.behavior, self.behavior_close, str(self.close_code)]
        if self.compression is not None:
            parts.append(self.compression.agreed)
        return " / ".join(parts)

    def get_text(self, name: str) -> str:
        """A text of wstest's record without its markup: "description", "expectation", "result" ..."""
        return strip_markup(str(self.record.get(name) or ""))

    def format_handshake(self) -> str:
        heads = [str(self.record.get(name, "")).strip() for name in ("httpRequest", "httpResponse")]
        return "\n\n".join(heads)

    def format_wire_log(self) -> str:
        """The wire log, a line per event; RX is what the suite received."""
        lines = [_format_event(event) for event in self.record.get("wirelog", [])]
        if self.record:
            lines.append(f"TCP DROPPED BY {'THE SUITE' if self.record.get('droppedByMe') else 'THE PEER'}")
        return "\n".join(f"{number:03d} {line}" for number, line in enumerate(lines))


def read_compression(case: str, record: Mapping[str, Any], role: str) -> Compression:
    """Read the handshake and the traffic of a compression case; complain of what was not done as asked."""
    offered = _read_header(str(record.get("httpRequest", "")), "sec-websocket-extensions")
    agreed = _read_header(str(record.get("httpResponse", "")), "sec-websocket-extensions")
    traffic = record.get("trafficStats") or {}
    ratio_in, ratio_out = traffic.get("incomingCompressionRatio"), traffic.get("outgoingCompressionRatio")
    complaint = ""
    if record.get("behavior") == "OK":
        complaint = _check_parameters(case, agreed, role)
        is_tiny_and_alone = _get_size(case) < LEAST_ALONE and f"{role}_no_context_takeover" in agreed
        if not complaint and not is_tiny_and_alone:
            complaint = _check_ratio(ratio_in, ratio_out)
    return Compression(offered, agreed, ratio_in, ratio_out, complaint)


def _check_parameters(case: str, agreed: str, role: str) -> str:
    """The parameters the case asks of us must stand in the response, as RFC 7692 7.1.1 and 7.1.2 want."""
    parameters = [parameter.strip() for parameter in agreed.split(";")]
    if parameters[0] != "permessage-deflate":
        return "no permessage-deflate"
    group = ".".join(case.split(".")[:2])
    no_context_takeover, bits = DEFLATE_PARAMETERS.get(group, (False, 0))
    if no_context_takeover and f"{role}_no_context_takeover" not in parameters:
        return f"no {role}_no_context_takeover"
    if bits:
        found = re.search(rf"{role}_max_window_bits=(\d+)", agreed)
        if found is None or int(found[1]) > bits:
            return f"no {role}_max_window_bits={bits}"
    return ""


# A message of 64 bytes that is compressed alone saves 0.28 of what the suite saves, which goes on with the
# context of those before.
LEAST_SAVED = 0.25
# One of fewer bytes, compressed alone, shrinks hardly at all.
LEAST_ALONE = 64


def _get_size(case: str) -> int:
    return DEFLATE_SIZES[int(case.split(".")[-1]) - 1]


def _check_ratio(ratio_in: Optional[float], ratio_out: Optional[float]) -> str:
    """What shrank for the suite must have shrunk for us, though not quite as much."""
    if ratio_out is None or ratio_out > 0.9:
        return ""
    is_compressed = ratio_in is not None and 1 - ratio_in >= LEAST_SAVED * (1 - ratio_out)
    return "" if is_compressed else "echo not compressed as it could be"


def _read_header(head: str, name: str) -> str:
    lines = [line for line in head.splitlines() if line.lower().startswith(name + ":")]
    return ", ".join(line.split(":", 1)[1].strip() for line in lines)


def strip_markup(text: str) -> str:
    text = re.sub(r"</?[a-z]+ ?/?>", "", re.sub(r"<br ?/?>|</?p>", "\n", text))
    return html.unescape(re.sub(r"[ \t]*\n\s*", "\n", text)).strip()


def _format_event(event: Sequence[Any]) -> str:
    tag = event[0]
    if tag in ("RO", "TO"):
        return f"{tag[0]}X OCTETS {event[1][0]}: {event[1][1]}"
    if tag in ("RF", "TF"):
        opcode, fin, rsv = event[2:5]
        mask = event[6] if tag == "RF" else event[5]
        name = _OPCODES.get(opcode, f"OPCODE {opcode}")
        more = "".join(f" {what}={value}" for what, value in (("RSV", rsv), ("MASK", mask)) if value)
        return f"{tag[0]}X FRAME  {name} FIN={int(fin)}{more} LENGTH={event[1][0]}: {event[1][1]}"
    return str(_TIMERS.get(tag, f"{tag} {{0}}")).format(*event[1:], "", "")


def count_behaviors(results: Iterable[Result]) -> Dict[str, int]:
    """How often each behaviour occurs, the good ones first."""
    counts = {"OK": 0, "INFORMATIONAL": 0, "NON-STRICT": 0, "UNIMPLEMENTED": 0, "FAILED": 0, MISSING: 0}
    for result in results:
        counts[result.behavior] = counts.get(result.behavior, 0) + 1
    return counts


# ------------------------------------------------------------------------------ the record


def build_record(results: Mapping[str, Result]) -> Dict[str, Any]:
    """The part of the committed file that belongs to one role: counts, and for each outcome its cases."""
    outcomes: Dict[str, List[str]] = {}
    for case, result in results.items():
        outcomes.setdefault(result.key, []).append(case)
    counts = {name: count for name, count in count_behaviors(results.values()).items() if count}
    return {
        "cases": len(results),
        **counts,
        "behavior / closing / close code / extension": {
            key: join_ranges(cases) for key, cases in sorted(outcomes.items())
        },
    }


def compare_record(results: Mapping[str, Result], record: Mapping[str, Any]) -> List[str]:
    """A line for every case that was run, and every count of a whole run, that is not as recorded."""
    recorded: Dict[str, str] = {}
    for key, ranges in record.get("behavior / closing / close code / extension", {}).items():
        recorded.update(dict.fromkeys(split_ranges(ranges), key))
    differences = []
    for case, result in results.items():
        if recorded.get(case) != result.key:
            differences.append(f"{case}: {result.key}; recorded: {recorded.get(case, 'nothing')}")
    if results.keys() == _KNOWN:
        for name, count in build_record(results).items():
            if isinstance(count, int) and count != record.get(name):
                differences.append(f"{name}: {count}; recorded: {record.get(name, 'nothing')}")
    return differences


def load_records(path: Path) -> Dict[str, Any]:
    try:
        records = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {"suite": f"autobahntestsuite {SUITE_VERSION}"}
    return dict(records)


def save_records(path: Path, records: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(records, indent=1) + "\n", "utf-8")


def join_ranges(cases: Sequence[str]) -> str:
    """ "1.1.1-8 2.3" for 1.1.1 to 1.1.8 and 2.3."""
    ranges: List[Tuple[str, int, int]] = []
    for case in cases:
        group, _, number = case.rpartition(".")
        if ranges and ranges[-1][0] == group and ranges[-1][2] + 1 == int(number):
            ranges[-1] = (group, ranges[-1][1], int(number))
        else:
            ranges.append((group, int(number), int(number)))
    return " ".join(f"{group}.{low}" + (f"-{high}" if high > low else "") for group, low, high in ranges)


def split_ranges(ranges: str) -> List[str]:
    cases = []
    for item in ranges.split():
        group, _, numbers = item.rpartition(".")
        low, _, high = numbers.partition("-")
        cases += [f"{group}.{number}" for number in range(int(low), int(high or low) + 1)]
    return [case for case in cases if case in _KNOWN]


_KNOWN = frozenset(CASES)
