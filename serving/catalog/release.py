"""Which release's Python Ray runs with: Ray stays where the next release has the same Ray, and replicas change."""

from __future__ import annotations

import sys
from pathlib import Path

from serving.files import write_whole


def note_python(home: Path) -> None:
    """At Ray's start: its replicas are started with this interpreter unless another is named."""
    write_whole(_file(home), f"{sys.executable}\n".encode())


def other_python(home: Path) -> str | None:
    """This process's interpreter, if Ray was started with another."""
    try:
        noted = _file(home).read_text().strip()
    except FileNotFoundError:
        return None
    return None if noted == sys.executable else sys.executable


def _file(home: Path) -> Path:
    return home / "run" / "ray-python"
