"""One case again, with everything that is known about it."""

from __future__ import annotations

from typing import Any, Dict

from . import adapters, head_adapters
from .cases import Case
from .heads import HeadCase
from .work import PARTS

ALL_BYTES = 1 << 30


def print_case(part_name: str, seed: int, index: int) -> int:
    part = PARTS[part_name]
    case = part.make(seed, index)
    print(case.describe(ALL_BYTES))
    for who, run in find_implementations(case, part_name).items():
        print(f"  {who}\n    {run(case).describe()}")
    findings = part.judge(case)
    for finding in findings:
        print(f"{finding.who} differs: {', '.join(finding.rulings) or 'UNEXPLAINED'}")
        if not finding.rulings:
            print(finding.describe(case))
    if not findings:
        print("no disagreement")
    return 1 if any(not finding.rulings for finding in findings) else 0


def find_implementations(case: Any, part_name: str) -> Dict[str, Any]:
    if isinstance(case, HeadCase):
        return {"wsbridge": head_adapters.run_wsbridge, **head_adapters.HEAD_PEERS}
    if isinstance(case, Case) and part_name != "sending":
        return {"wsbridge": adapters.run_wsbridge, **adapters.PEERS}
    return {}
