"""Who answers for which model: the directory, as gateways and the worker read it.

The process ``serving`` publishes it (docs/architecture.md); nobody who imports this needs Ray.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from serving.catalog.endpoints import ENDPOINTS, Body
from serving.catalog.traits import Traits

REREAD_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Replica:
    """``running`` and ``waiting`` are requests at the last look; ``endpoint`` is ``http://host:port``.

    ``memory_used`` and ``memory_total`` are bytes of its GPUs; without one, its own of the machine's, and 0.

    ``model`` is the one that it serves, which is another one than was asked for where it is a fallback.
    """

    id: str
    endpoint: str
    running: int
    waiting: int
    draining: bool
    node: str = ""
    model: str = ""
    memory_used: int = 0
    memory_total: int = 0


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model as the directory shows it. ``replicas`` are those too that only finish what they began.

    ``fallbacks`` are the models that answer in its place, in this order, when none of its replicas does.
    """

    state: str
    message: str
    context_length: int
    traits: Traits
    replicas: tuple[Replica, ...]
    start_seconds: float = 0.0
    """How long its last start took; 0 if that is not known."""
    fallbacks: tuple[str, ...] = ()
    wanted: int = 0
    """Replicas that it should have."""
    tokens_per_second: float = 0.0
    """Written over the last seconds, by all replicas."""

    @property
    def answers(self) -> bool:
        """Whether a replica takes requests."""
        return any(not replica.draining for replica in self.replicas)

    def can(self, path: str) -> bool:
        """Whether it has the endpoint, as far as that is known."""
        return not self.traits.endpoints or path in self.traits.endpoints


class Directory:
    """The published file, read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._models: dict[str, ModelView] = {}
        self._nodes: list[dict[str, Any]] = []
        self._published_at = 0.0
        self._modified_ns = 0
        self._looked_at = -REREAD_SECONDS

    def model(self, model: str) -> ModelView | None:
        return self.models().get(model)

    def models(self) -> Mapping[str, ModelView]:
        self._refresh()
        return self._models

    def in_order(self, model: str, path: str | None = None) -> list[ModelView]:
        """The model and whoever answers in its place, as far as they are known; with ``path``, those who can."""
        view = self.model(model)
        if view is None:
            return []
        others = [other for name in view.fallbacks if (other := self.model(name)) is not None]
        return [view, *(other for other in others if path is None or _stands_in(other, view, path))]

    def answering(self, model: str, path: str) -> ModelView | None:
        """The first of those in order that answers; its prompts bounded as by whoever counts the most tokens."""
        views = self.in_order(model, path)
        able = [view for view in views if view.answers]
        if not able or len(views) == 1:
            return able[0] if able else None
        traits = able[0].traits
        most = msgspec.structs.replace(
            traits,
            template_tokens=max(view.traits.template_tokens for view in able),
            tokens_per_byte=max(view.traits.tokens_per_byte for view in able),
            reads_whole_body=any(view.traits.reads_whole_body for view in able),
        )
        return replace(able[0], context_length=views[0].context_length, traits=most)

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """The cluster's: ``id``, ``address``, ``metrics_port`` (of Ray's own; 0 if it has none)."""
        self._refresh()
        return self._nodes

    def age_seconds(self, now: float) -> float:
        """How long ago Ray was last heard of; ``now`` is Unix time."""
        self._refresh()
        return now - self._published_at

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < REREAD_SECONDS:
            return
        self._looked_at = now
        try:
            modified_ns = self._path.stat().st_mtime_ns
            if modified_ns == self._modified_ns:
                return
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return
        self._modified_ns = modified_ns
        self._published_at = document["published_at"]
        self._nodes = document.get("nodes", [])
        self._models = {model: _view(model, entry) for model, entry in document["models"].items()}


GENERATED = frozenset({Body.CHAT, Body.COMPLETIONS, Body.RESPONSES, Body.MESSAGES})
"""Another model's text does as well; its vectors, scores and token ids mean something else."""


def _stands_in(other: ModelView, view: ModelView, path: str) -> bool:
    able = other.can(path) and view.can(path) and set(view.traits.input) <= set(other.traits.input)
    return able and ENDPOINTS[path].body in GENERATED


def _view(model: str, entry: Mapping[str, Any]) -> ModelView:
    fields = ("id", "endpoint", "running", "waiting", "draining", "node")
    later = ("memory_used", "memory_total")
    return ModelView(
        state=entry["state"],
        message=entry["message"],
        context_length=entry["context_length"],
        traits=msgspec.convert(entry["traits"], Traits),
        replicas=tuple(
            Replica(
                **{field: replica[field] for field in fields},
                **{field: replica[field] for field in later if field in replica},
                model=model,
            )
            for replica in entry["replicas"]
        ),
        start_seconds=entry.get("start_seconds", 0.0),
        fallbacks=tuple(entry.get("fallbacks", ())),
        wanted=entry.get("wanted", 0),
        tokens_per_second=entry.get("tokens_per_second", 0.0),
    )
