"""What is printed about a server that could not run: the error in the application, without our own frames."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Optional

from ... import __name__ as PACKAGE

__all__ = ["format_error_of_application"]


def format_error_of_application(error: Optional[BaseException]) -> str:
    """The traceback of an error in the application, without our own frames; empty if it never ran."""
    frames = None if error is None else _skip_other_frames(error.__traceback__)
    if error is not None and (frames is not None or isinstance(error, SyntaxError)):
        return "".join(traceback.format_exception(type(error), error, frames))
    return ""


def _skip_other_frames(frames: Optional[TracebackType]) -> Optional[TracebackType]:
    """Drop our own frames, and those of the import system, from the start of a traceback."""
    while frames is not None:
        module = str(frames.tb_frame.f_globals.get("__name__"))
        if not module.startswith((f"{PACKAGE}.server.", f"{PACKAGE}.asgi.", "importlib", "zipimport")):
            break
        frames = frames.tb_next
    return frames
