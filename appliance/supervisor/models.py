"""Tells the user how the models come up, from what `serving` publishes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appliance.supervisor.screen import Screen, Step


@dataclass
class Board:
    """One line for each model while it starts; later a line for each change."""

    screen: Screen
    directory: Path
    _steps: dict[str, Step] = field(default_factory=dict)
    _states: dict[str, str] = field(default_factory=dict)

    def expect(self, models: list[str]) -> None:
        for model in models:
            self._states[model] = "starting"
            self._steps[model] = self.screen.step("engine", model)

    def refresh(self) -> None:
        for model, (state, message) in self._read().items():
            self._show(model, state, message)

    def all_failed(self) -> bool:
        return bool(self._states) and all(state == "failed" for state in self._states.values())

    def any_starts(self) -> bool:
        return "starting" in self._states.values()

    def _show(self, model: str, state: str, message: str) -> None:
        step = self._steps.get(model)
        before = self._states.get(model)
        self._states[model] = state
        if step is not None:
            if state == "starting":
                step.update(f"{model} {message}".strip())
            else:
                del self._steps[model]
                step.done(f"{model} {state} {message}".strip())
        elif state != before:
            self.screen.say(f"model {model} is {state} {message}".strip())

    def _read(self) -> Mapping[str, tuple[str, str]]:
        try:
            models = json.loads(self.directory.read_text())["models"]
            return {name: (str(entry["state"]), str(entry.get("message", ""))) for name, entry in models.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
