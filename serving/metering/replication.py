"""The journals of all nodes, copied to the first: its books are compared with every meter, and a node may be lost.

A journal only grows and its name is its replica's, so that a copy lacks nothing but what is behind its end.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from serving.metering.journal import HOUR_SECONDS, KEEP_SECONDS, delete_old, hour_of

MOST_BYTES = 4 << 20
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w-]+-\d+\.jsonl")
Piece = tuple[str, int, bytes]
"""A journal's name below ``meters``, an offset, and what is there."""


def sizes(meters: Path) -> dict[str, int]:
    """Every journal that is kept here, with its length in bytes."""
    return {str(path.relative_to(meters)): path.stat().st_size for path in meters.glob("*/*.jsonl")}


def missing(meters: Path, offered: Mapping[str, int]) -> list[tuple[str, int]]:
    """From where to read which of the journals that another node offers. A name that is none is passed over."""
    oldest = (time.time() - KEEP_SECONDS) / HOUR_SECONDS
    wanted = []
    for name, size in offered.items():
        if not NAME.fullmatch(name) or hour_of(Path(name)) < oldest:
            continue
        if (have := _size(meters / name)) < size:
            wanted.append((name, have))
    return wanted


def read(meters: Path, wanted: Iterable[tuple[str, int]]) -> list[Piece]:
    """As much of it as goes at once."""
    pieces: list[Piece] = []
    room = MOST_BYTES
    for name, offset in wanted:
        if not NAME.fullmatch(name) or room <= 0:
            continue
        try:
            with (meters / name).open("rb") as file:
                file.seek(offset)
                data = file.read(room)
        except FileNotFoundError:
            continue
        pieces.append((name, offset, data))
        room -= len(data)
    return pieces


def append(meters: Path, pieces: Iterable[Piece]) -> None:
    """What was copied already, or does not fit the end of what is here, is passed over. Raises OSError."""
    for name, offset, data in pieces:
        path = meters / name
        if NAME.fullmatch(name) and _size(path) == offset:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(data)


def forget(meters: Path) -> None:
    """Copies are kept as long as journals are."""
    for directory in meters.glob("*"):
        delete_old(directory, time.time())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
