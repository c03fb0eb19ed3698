"""Folders for unix sockets, whose paths have a limit that a home deep in the file system exceeds."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def short_folder(wanted: Path, most_bytes: int) -> Path:
    """`wanted`, or a temporary folder that is always the same one for the same `wanted` and user."""
    if len(os.fsencode(wanted)) <= most_bytes:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"appliance-{os.geteuid()}-{digest}"
