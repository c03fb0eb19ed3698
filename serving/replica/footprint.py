"""How much memory a replica takes: of its GPUs, or of the machine where it has none."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass

import psutil

MIB = 1 << 20
TIMEOUT_SECONDS = 20
TWO_NUMBERS = re.compile(r"^ *(\d+) *, *(\d+) *$", re.ASCII | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Footprint:
    """In bytes. On GPUs what all that run there use, of how much; else what the replica's processes use, of 0."""

    used: int = 0
    total: int = 0


def on_gpus(visible: str) -> Footprint:
    """``visible`` are the replica's, as CUDA_VISIBLE_DEVICES names them. Blocks for a moment."""
    query = ("nvidia-smi", f"--id={visible}", "--query-gpu=memory.used,memory.total")
    try:
        printed = subprocess.run(
            [*query, "--format=csv,noheader,nounits"], capture_output=True, text=True, check=True,
            timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return Footprint()
    return parse(printed.stdout)


def parse(text: str) -> Footprint:
    """A line for each GPU: mebibytes used, and there."""
    found = [(int(used) * MIB, int(total) * MIB) for used, total in TWO_NUMBERS.findall(text)]
    return Footprint(sum(used for used, _ in found), sum(total for _, total in found))


def on_processors() -> Footprint:
    """Of this process and those that it started."""
    mine, used = psutil.Process(), 0
    with suppress(psutil.Error):
        for process in (mine, *mine.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                used += process.memory_info().rss
    return Footprint(used)
