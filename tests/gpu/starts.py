"""What a start does, second by second, as the system's own screen tells it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping

from tests.gpu.report import Figures
from tests.scenarios.system import System

LOOK_SECONDS = 0.25
NUMBERS = re.compile(r",? \d+( of \d+| %)?$")


def watch_until_ready(system: System, seconds: float) -> Figures:
    """Seconds until every model answers, and how long each was at what. Raises AssertionError with the screen."""
    began = last = time.monotonic()
    at: dict[str, dict[str, float]] = {}
    while True:
        now = time.monotonic()
        for model, stage in stages(system).items():
            spent = at.setdefault(model, {})
            spent[stage] = spent.get(stage, 0.0) + now - last
        last = now
        if system.is_ready():
            break
        assert system.process.poll() is None, f"it ended:\n{system.screen.read_text()}"
        assert now - began < seconds, f"not ready:\n{system.screen.read_text()}"
        time.sleep(LOOK_SECONDS)
    told = {model: {stage: round(spent, 1) for stage, spent in spells.items()} for model, spells in at.items()}
    return {"seconds_to_ready": round(time.monotonic() - began, 1), "seconds_at": told}


def stages(system: System) -> Mapping[str, str]:
    """What each model is at, without how far."""
    try:
        models = json.loads((system.home / "run/directory.json").read_text())["models"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: NUMBERS.sub("", entry["message"]) or entry["state"] for name, entry in models.items()}
