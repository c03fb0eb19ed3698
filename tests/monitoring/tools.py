"""Debian's tools for what Prometheus and Alertmanager read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.programs import program


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One that checks something and ends."""
    return subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
