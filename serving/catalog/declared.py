"""Which models the system is to run: what `up` and `models apply` last took from configs/models.yaml.

A file of its own, so that a models.yaml that is being edited is nobody's business until it is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from serving.catalog.models import Model
from serving.files import write_whole


def declare(path: Path, models: Sequence[Model]) -> None:
    """Whole, or not at all."""
    write_whole(path, msgspec.json.encode(models))


class Declared:
    """The file, read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.revision = 0
        """Which state of the file ``models`` gave last; any change of the file makes another one."""
        self._models: dict[str, Model] = {}

    def models(self) -> dict[str, Model]:
        """By id, in the order of the file; none before the first time. Raises ValueError if it is damaged."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self.revision:
                models = msgspec.json.decode(self._path.read_bytes(), type=tuple[Model, ...])
                self._models = {model.id: model for model in models}
                self.revision = changed_ns
        except OSError:
            pass  # replaced at this moment, or not there yet
        return self._models

    def bases(self) -> dict[str, Model]:
        """Those that are no adapters: each has replicas of its own."""
        return {name: model for name, model in self.models().items() if model.base is None}
