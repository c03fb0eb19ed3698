"""How much memory a replica takes: of its GPUs, or of the machine where it has none."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import psutil

MIB = 1 << 20
TIMEOUT_SECONDS = 20


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
    lines = [line.split(",") for line in text.splitlines()]
    numbers = [
        [int(part) * MIB for part in line] for line in lines if all(part.strip().isdigit() for part in line)
    ]
    return Footprint(sum(used for used, _ in numbers), sum(total for _, total in numbers))


def on_processors() -> Footprint:
    """Of this process and those that it started."""
    mine = psutil.Process()
    used = 0
    for process in (mine, *mine.children(recursive=True)):
        try:
            used += process.memory_info().rss
        except psutil.Error:
            continue
    return Footprint(used)
