"""What wstest leaves open in 12.* and 13.*: whether what it asks for is agreed on, and really compressed."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

# Sizes in bytes of the 1000 messages of each case of 12.* and 13.*.
SIZES = (
    *(16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072),
    *(8192, 16384, 32768, 65536, 131072, 131072, 131072, 131072),
)

# What 13.1 to 13.7 ask for: no context takeover, and the window in bits (0: nothing is said of it).
# 13.7 offers three sets, this one first.
PARAMETERS: Dict[str, Tuple[bool, int]] = {
    "13.1": (False, 0),
    "13.2": (True, 0),
    "13.3": (False, 9),
    "13.4": (False, 15),
    "13.5": (True, 9),
    "13.6": (True, 15),
    "13.7": (True, 9),
}

# A message of 64 bytes that is compressed alone saves 0.28 of what the suite saves, which goes on with the
# context of those before.
LEAST_SAVED = 0.25
# One of fewer bytes, compressed alone, shrinks hardly at all.
LEAST_ALONE = 64


class Compression(NamedTuple):
    """What a case of 12.* or 13.* agreed on, and how small its messages became.

    ratio_in, ratio_out: bytes on the wire (without headers) over bytes of the messages, of the echoes and
    of what the suite itself sent; None when the case did not get to its end.
    complaint: what was not done as asked, or "".
    """

    agreed: str
    ratio_in: Optional[float]
    ratio_out: Optional[float]
    complaint: str


def read_compression(case: str, record: Mapping[str, Any], role: str) -> Compression:
    """Read the handshake and the traffic of a case; `role` is that of the implementation under test."""
    fields = re.findall(r"(?im)^sec-websocket-extensions:\s*(.*?)\s*$", str(record.get("httpResponse", "")))
    agreed = ", ".join(fields)
    traffic = record.get("trafficStats") or {}
    ratio_in, ratio_out = traffic.get("incomingCompressionRatio"), traffic.get("outgoingCompressionRatio")
    complaint = ""
    if record.get("behavior") == "OK":
        size = SIZES[int(case.rpartition(".")[2]) - 1]
        is_tiny_and_alone = size < LEAST_ALONE and f"{role}_no_context_takeover" in agreed
        complaint = _check_parameters(case.rpartition(".")[0], agreed, role)
        if not complaint and not is_tiny_and_alone:
            complaint = _check_ratio(ratio_in, ratio_out)
    return Compression(agreed, ratio_in, ratio_out, complaint)


def _check_parameters(group: str, agreed: str, role: str) -> str:
    """The parameters the case asks of us must stand in the response, as RFC 7692 7.1.1 and 7.1.2 want."""
    parameters = [parameter.strip() for parameter in agreed.split(";")]
    if parameters[0] != "permessage-deflate":
        return "no permessage-deflate"
    no_context_takeover, bits = PARAMETERS.get(group, (False, 0))
    if no_context_takeover and f"{role}_no_context_takeover" not in parameters:
        return f"no {role}_no_context_takeover"
    found = re.search(rf"{role}_max_window_bits=(\d+)", agreed)
    if bits and (found is None or int(found[1]) > bits):
        return f"no {role}_max_window_bits={bits}"
    return ""


def _check_ratio(ratio_in: Optional[float], ratio_out: Optional[float]) -> str:
    """What shrank for the suite must have shrunk for us, though not quite as much."""
    if ratio_out is None or ratio_out > 0.9:
        return ""
    is_compressed = ratio_in is not None and 1 - ratio_in >= LEAST_SAVED * (1 - ratio_out)
    return "" if is_compressed else "echo not compressed as it could be"
