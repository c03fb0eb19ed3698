"""What was judged, for people and for Prometheus's node exporter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from appliance.backup.judging import NAMES, Judged, age
from serving.files import write_whole

LAST, OK = "appliance_backup_last_success_timestamp_seconds", "appliance_backup_ok"


def as_lines(judged: Sequence[Judged], now: datetime) -> Iterator[str]:
    for one in judged:
        if one.is_fine and one.last is not None:
            backups = "one backup" if one.count == 1 else f"{one.count} backups"
            yield f"{NAMES[one.kind]}: {backups}, the newest {age(now - one.last)} old."
        for problem in one.problems:
            yield f"{NAMES[one.kind]}: {problem}"


def write_metrics(file: Path, judged: Sequence[Judged]) -> None:
    """Whole or not at all: whoever reads it meanwhile has the one before."""
    lines = [
        f"# HELP {LAST} When the newest backup was complete.",
        f"# TYPE {LAST} gauge",
        *(f'{LAST}{{kind="{one.kind}"}} {one.last.timestamp():.0f}' for one in judged if one.last is not None),
        f"# HELP {OK} Whether backups are there, new enough, not too old, and were read again.",
        f"# TYPE {OK} gauge",
        *(f'{OK}{{kind="{one.kind}"}} {one.is_fine:d}' for one in judged),
    ]
    write_whole(file, "\n".join([*lines, ""]).encode(), 0o644)
