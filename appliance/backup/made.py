"""Backups as pgBackRest and restic list them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

STANZA = "appliance"
SECONDS = 300
POSTGRESQL_LIST = ("pgbackrest", f"--stanza={STANZA}", "--output=json", "info")
FILES_LIST = ("restic", "snapshots", "--json", "--no-lock")


class Kind(StrEnum):
    """What is backed up: each is the label ``kind`` of the metrics, and restic's tag."""

    POSTGRESQL = "postgresql"
    MONGODB = "mongodb"
    FILES = "files"


class BackupsUnreadable(Exception):
    """The list of the backups cannot be had; the message says from whom, and why."""


@dataclass(frozen=True, slots=True)
class Made:
    """One kind's backups: when each was complete, oldest first; ``damaged`` are those with broken pages."""

    times: tuple[datetime, ...] = ()
    damaged: tuple[datetime, ...] = ()


def list_backups(kinds: Sequence[Kind]) -> dict[Kind, Made | BackupsUnreadable]:
    """Asks the programs, with the environment of this process. Whatever cannot be asked is in the answer."""
    wanted: dict[Kind, Made | BackupsUnreadable] = {}
    if Kind.POSTGRESQL in kinds:
        wanted[Kind.POSTGRESQL] = _asked(POSTGRESQL_LIST, parse_postgresql)
    others = [kind for kind in kinds if kind is not Kind.POSTGRESQL]
    if others:
        try:
            found = parse_snapshots(_output(FILES_LIST))
        except BackupsUnreadable as error:
            return wanted | dict.fromkeys(others, error)
        wanted |= {kind: found[kind] for kind in others}
    return wanted


def parse_postgresql(output: bytes) -> Made:
    """What ``pgbackrest info`` says as JSON. Raises BackupsUnreadable."""
    found = _document(output, "pgBackRest")
    stanza = next((one for one in found if one.get("name") == STANZA), None)
    if stanza is None:
        raise BackupsUnreadable(f"pgBackRest knows no stanza {STANZA}")
    if stanza["status"]["code"] not in (0, 2):  # 2: there is no backup yet
        raise BackupsUnreadable(f"pgBackRest: {stanza['status']['message']}")
    stopped = [
        (datetime.fromtimestamp(one["timestamp"]["stop"], UTC), one.get("error")) for one in stanza["backup"]
    ]
    return Made(tuple(sorted(at for at, _ in stopped)), tuple(sorted(at for at, error in stopped if error)))


def parse_snapshots(output: bytes) -> Mapping[Kind, Made]:
    """What ``restic snapshots`` says as JSON, by tag; what was broken off has none. Raises BackupsUnreadable."""
    found = _document(output, "restic")
    return {
        kind: Made(
            tuple(sorted(datetime.fromisoformat(one["time"]) for one in found if kind in (one.get("tags") or ())))
        )
        for kind in Kind
    }


def _asked(command: Sequence[str], parse: Callable[[bytes], Made]) -> Made | BackupsUnreadable:
    try:
        return parse(_output(command))
    except BackupsUnreadable as error:
        return error


def _output(command: Sequence[str]) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise BackupsUnreadable(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise BackupsUnreadable(f"{command[0]} did not answer within {SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise BackupsUnreadable(f"{command[0]}: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout


def _document(output: bytes, program: str) -> list[dict[str, Any]]:
    try:
        found = msgspec.json.decode(output)
    except msgspec.DecodeError:
        raise BackupsUnreadable(f"{program} does not answer in JSON") from None
    return found if isinstance(found, list) else []
