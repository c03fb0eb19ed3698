"""Bounds the parts' logs: a file that grew too large is kept once under another name, and begun anew."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

LOG_MAX_BYTES = 8 << 20
TAIL_BYTES = 4096


def rotate(folder: Path, most_bytes: int = LOG_MAX_BYTES) -> None:
    """The parts write to their open files in append mode, so a file is copied and cut, not renamed."""
    for log in folder.glob("*.log"):
        if log.stat().st_size > most_bytes:
            with suppress(OSError):  # a full disk: no older copy then
                shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def last_line(log: Path) -> str:
    """The last line with something on it, or nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
