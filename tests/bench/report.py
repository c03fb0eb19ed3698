"""Figures as a table for people and in ``var/bench.json``, a section a benchmark."""

import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path


def percentile(values: list[float], share: float) -> float:
    """The nearest rank; ``share`` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def write_section(path: Path, section: str, figures: Mapping[str, float | int | str]) -> None:
    document = json.loads(path.read_text()) if path.exists() else {}
    document[section] = {**figures, "measured_at": time.strftime("%Y-%m-%d %H:%M"), "machine": platform.machine()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def show(title: str, figures: Mapping[str, float | int | str]) -> None:
    print(f"\n{title}")  # noqa: T201
    width = max(map(len, figures))
    for name, value in figures.items():
        text = f"{value:,.2f}" if isinstance(value, float) else str(value)
        print(f"  {name.ljust(width)}  {text:>12}")  # noqa: T201


def show_progress(text: str) -> None:
    """One line that the next one replaces, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)  # noqa: T201
