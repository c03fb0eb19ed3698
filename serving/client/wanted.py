"""That somebody asks for a model without a replica: a gateway touches a file, the process ``serving`` sees it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

FRESH_SECONDS = 10.0


class Wanted:
    """``directory`` has a file for each model that was asked for in vain."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def want(self, model: str) -> None:
        """To be repeated as long as somebody waits. A disk that is full keeps nobody from being refused."""
        with suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / model).touch()

    def all(self) -> list[str]:
        """The ids of the models that are wanted now."""
        try:
            return [path.name for path in self._directory.iterdir() if self.is_wanted(path.name)]
        except FileNotFoundError:
            return []

    def is_wanted(self, model: str) -> bool:
        try:
            return time.time() - (self._directory / model).stat().st_mtime < FRESH_SECONDS
        except OSError:
            return False
