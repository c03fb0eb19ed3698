"""Debian's tools for what Prometheus and Alertmanager read. Where one is missing the tests fail and say so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
}
"""Each program with its package."""


def program(name: str) -> str:
    """Its path. The test fails where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"monitoring cannot be tested without {name}: apt install {PACKAGES[name]}", pytrace=False)
    return path


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One that checks something and ends."""
    return subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
