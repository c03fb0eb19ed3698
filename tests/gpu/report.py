"""What was found so far, on disk after each check; and the seconds that are left."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@dataclass
class Report:
    """A check that fails, or for which the time is too short, takes nothing from what the others found."""

    file: Path
    budget_seconds: float
    figures: Figures
    failed: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    @property
    def left_seconds(self) -> float:
        return self.budget_seconds - (time.monotonic() - self._began)

    def note(self, name: str, found: object) -> None:
        self.figures[name] = found
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(self.figures, indent=2) + "\n")
        say(f"{name}: {json.dumps(found, indent=2)}")

    def check(self, name: str, expected_seconds: float, look: Callable[[], object]) -> bool:
        """Whether it was done, and without a failure."""
        if expected_seconds > self.left_seconds:
            self.note(
                name, f"not tried: takes {expected_seconds:.0f} s, {max(0, self.left_seconds):.0f} s were left"
            )
            return False
        say(f"{name} (about {expected_seconds:.0f} s, {self.left_seconds:.0f} s are left)")
        began = time.monotonic()
        try:
            self.note(name, look())
        except Exception as error:  # noqa: BLE001 -- whatever it is, the other checks go on
            self.failed.append(name)
            self.note(name, f"failed: {error!r:.2000}")
            traceback.print_exc()
            return False
        say(f"{name} took {time.monotonic() - began:.0f} s")
        return True
