"""Which GPUs a machine has, by NVIDIA's own tool."""

from __future__ import annotations

import subprocess
from typing import Any

QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
TIMEOUT_SECONDS = 20
MIB = 1 << 20


def local_gpus() -> list[dict[str, Any]]:
    """``name`` and ``memory_bytes`` of each; none where the tool is missing or fails."""
    try:
        printed = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(printed.stdout)


def parse_gpus(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        name, _, mebibytes = line.rpartition(",")
        if name and mebibytes.strip().isdigit():
            found.append({"name": name.strip(), "memory_bytes": int(mebibytes) * MIB})
    return found
