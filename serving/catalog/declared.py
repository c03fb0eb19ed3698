"""Which models the system is to run: what `up` and `models apply` last took from configs/models.yaml.

A file of its own, so that a models.yaml that is being edited is nobody's business until it is applied.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from serving.catalog.models import Model
from serving.files import write_whole


class _File(msgspec.Struct):
    """``since`` is when an id was first declared, in seconds since 1970; of ids that are gone too."""

    models: tuple[Model, ...]
    since: dict[str, int]


def declare(path: Path, models: Sequence[Model], clock: Callable[[], float] = time.time) -> None:
    """Whole, or not at all. An id that comes again is as old as it was."""
    now = int(clock())
    try:
        since = _read(path).since
    except (OSError, ValueError):
        since = {}
    new = {model.id: now for model in models} | since
    write_whole(path, msgspec.json.encode(_File(tuple(models), new)))


def _read(path: Path) -> _File:
    """Raises OSError, and ValueError if it is damaged."""
    content = path.read_bytes()
    if not content.startswith(b"["):
        return msgspec.json.decode(content, type=_File)
    models = msgspec.json.decode(content, type=tuple[Model, ...])  # by a version that kept no time
    changed = int(path.stat().st_mtime)
    return _File(models, {model.id: changed for model in models})


class Declared:
    """The file, read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.revision = 0
        """Which state of the file ``models`` gave last; any change of the file makes another one."""
        self._models: dict[str, Model] = {}
        self._since: dict[str, int] = {}

    def models(self) -> dict[str, Model]:
        """By id, in the order of the file; none before the first time. Raises ValueError if it is damaged."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self.revision:
                found = _read(self._path)
                self._models = {model.id: model for model in found.models}
                self._since = found.since
                self.revision = changed_ns
        except OSError:
            pass  # replaced at this moment, or not there yet
        return self._models

    def bases(self) -> dict[str, Model]:
        """Those that are no adapters: each has replicas of its own."""
        return {name: model for name, model in self.models().items() if model.base is None}

    def since(self, model_id: str) -> int:
        """When a model that ``models`` has was first declared, in seconds since 1970."""
        return self._since.get(model_id, 0)
