"""What an engine that starts is doing, in one line, for whoever waits for it.

The engine's processes write the line into a file that their environment names; the process ``serving``
publishes it. One that fails says why, since vLLM tells the replica only that it did.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from serving.files import write_whole

VARIABLE = "APPLIANCE_STARTING"
FAILED = "failed: "
LONGEST_REASON = 500


def line_of(home: Path, model: str) -> Path:
    """The file with the model's line."""
    return home / "run" / "starting" / f"{model}.txt"


def say(text: str) -> None:
    """Nobody's start fails because it cannot be told."""
    if path := os.environ.get(VARIABLE):
        with suppress(OSError):
            write_whole(Path(path), text.encode())


@contextmanager
def telling_why() -> Iterator[None]:
    """Says what went wrong, if that was not said further inside. Before the first request it is of no customer."""
    try:
        yield
    except Exception as error:
        path = os.environ.get(VARIABLE)
        if path and not why(Path(path)):
            reason = " ".join(str(error).split()) or "no reason was given"
            say(f"{FAILED}{type(error).__name__}: {reason[:LONGEST_REASON]}")
        raise


def why(path: Path) -> str:
    """The reason for which the start failed, or nothing."""
    line = said(path)
    return line.removeprefix(FAILED) if line.startswith(FAILED) else ""


def said(path: Path) -> str:
    """The line, or nothing."""
    try:
        return path.read_text()
    except OSError:
        return ""


Item = TypeVar("Item")


def counted(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The same items; says how many of them have been taken."""
    total = f" of {len(items)}" if isinstance(items, Sized) else ""
    for number, item in enumerate(items, 1):
        say(f"{what} {number}{total}")
        yield item


class HasSize(Protocol):
    """A tensor."""

    @property
    def nbytes(self) -> int: ...


Tensor = TypeVar("Tensor", bound=HasSize)


def weighed(tensors: Iterable[tuple[str, Tensor]], total_bytes: int) -> Iterator[tuple[str, Tensor]]:
    """The same tensors; says how much of the weights has been taken, in percent."""
    taken, percent = 0, -1
    for name, tensor in tensors:
        yield name, tensor
        taken += tensor.nbytes
        if (now := min(100, 100 * taken // max(1, total_bytes))) != percent:
            percent = now
            say(f"loading weights, {percent} %")
