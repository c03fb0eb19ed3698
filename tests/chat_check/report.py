"""The part of docs/librechat.md that a run writes: when, on which commit, with which versions, what was found."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from appliance.librechat import RELEASE
from tests.browser.screenshots import FOLDER, PICTURES

PAGE = Path("docs/librechat.md")
SHOWN = ("chat-answer.png", "chat-agent.png", "chat-dashboard.png", "chat-suspended.png")
"""The pictures on the page."""
BEGIN, END = "<!-- make chat-check writes from here -->", "<!-- to here -->"


@dataclass(frozen=True)
class Outcome:
    shows: str
    found: str
    passed: bool


def write(outcomes: Sequence[Outcome], facts: Mapping[str, str]) -> None:
    """Between the marks of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + section(outcomes, facts, datetime.now(UTC), _commit()) + END + after)
    for name in SHOWN:
        if (picture := FOLDER / name).exists():
            shutil.copyfile(picture, PICTURES / name)


def section(outcomes: Sequence[Outcome], facts: Mapping[str, str], now: datetime, commit: str) -> str:
    passed = sum(outcome.passed for outcome in outcomes)
    rows = [f"| {one.shows} | {'yes' if one.passed else '**no**'} | {_cell(one.found)} |" for one in outcomes]
    return "\n".join([
        f"{now:%d %B %Y}, commit {commit}, LibreChat {RELEASE}: {passed} of {len(outcomes)}. "
        + " ".join(f"{fact}." for fact in facts.values()),
        "",
        "| what it shows | | what was found |",
        "|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
