"""The configurations of the guide, as a user copies them."""

from __future__ import annotations

import re
import shlex
from typing import Dict, List, Mapping

from conformance.lib.environment import ROOT

GUIDE = ROOT / "wsbridge" / "guide" / "proxies.md"


class GuideChanged(Exception):
    """The guide has no longer what the check looks for in it."""


def read_block(language: str, start: str = "") -> str:
    """The fenced block of that language, and of that start, of which there must be one."""
    text = GUIDE.read_text("utf-8")
    blocks = re.findall(rf"^```{language}\n({re.escape(start)}.*?)^```$", text, re.DOTALL | re.MULTILINE)
    if len(blocks) != 1:
        raise GuideChanged(f"{GUIDE.name} has {len(blocks)} blocks {language!r} that begin with {start!r}")
    return str(blocks[0])


def read_command(flag: str, value: str) -> List[str]:
    """The words, without `python3`, of the command that starts the server there."""
    return shlex.split(read_block("text", f"python3 -m wsbridge app:app {flag} {value}"))[1:]


def read_modules() -> List[str]:
    """The modules of Apache that are to be switched on."""
    return read_block("text", "a2enmod").split()[1:]


def read_lines(heading: str) -> Dict[str, Dict[str, str]]:
    """The table below a heading of the guide: for each proxy, what is written in place of what."""
    text = GUIDE.read_text("utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (\w.*?) \| `(.+?)` \| (`.+`) \|$", section.group(1) if section else "", re.M)
    if not rows:
        raise GuideChanged(f"{GUIDE.name} has no table under {heading!r}")
    lines: Dict[str, Dict[str, str]] = {}
    for name, found, written in rows:
        # Several pieces of code are as many lines; a bar is escaped in a table.
        pieces = re.findall(r"`(.+?)`", written.replace("\\|", "|"))
        lines.setdefault(name, {})[found.replace("\\|", "|")] = "\n".join(pieces)
    return lines


def edit(text: str, edits: Mapping[str, str]) -> str:
    """The text with every edit made; each must find its place."""
    for found, written in edits.items():
        if found not in text:
            raise GuideChanged(f"{found!r} does not stand in the configuration")
        text = text.replace(found, written)
    return text
