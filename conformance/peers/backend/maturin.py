"""A build backend that hands pip the metadata of an sdist; the real maturin would need Rust for that."""

from __future__ import annotations

import shutil
from email.parser import Parser
from pathlib import Path
from typing import Any


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    known = Parser().parsestr(Path("PKG-INFO").read_text("utf-8"), headersonly=True)
    name = f"{known['Name']}-{known['Version']}.dist-info"
    folder = Path(metadata_directory, name)
    folder.mkdir()
    shutil.copy("PKG-INFO", folder / "METADATA")
    return name
