"""What applying a models.yaml would change, and where its replicas would be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from serving.catalog.models import Model
from serving.placement.fit import Fit, Shape, cpu_bytes, fit_on

Kind = Literal["add", "remove", "replace", "scale", "keep"]
WITHOUT_REPLACEMENT = frozenset({"rates", "replicas", "cold", "fallbacks"})


@dataclass(frozen=True, slots=True)
class Change:
    """``details`` are the fields that differ, from what to what."""

    model: str
    kind: Kind
    details: tuple[str, ...] = ()


def changes(before: Sequence[Model], after: Sequence[Model]) -> list[Change]:
    """A line for each model, those that stay as they are too."""
    known, wanted = ({model.id: model for model in models} for models in (before, after))
    touched = _bases_with_other_adapters(known, wanted)
    found = [_change(known.get(name), model, name in touched) for name, model in wanted.items()]
    return found + [Change(name, "remove") for name in known if name not in wanted]


def _bases_with_other_adapters(known: Mapping[str, Model], wanted: Mapping[str, Model]) -> set[str]:
    def adapters(models: Mapping[str, Model]) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {name: set() for name in models}
        for model in models.values():
            if model.base is not None:
                found[model.base].add((model.id, model.source))
        return found

    old, new = adapters(known), adapters(wanted)
    return {name for name in old.keys() & new.keys() if old[name] != new[name]}


def _change(before: Model | None, after: Model, other_adapters: bool) -> Change:
    if before is None:
        return Change(after.id, "add")
    details = tuple(_differences(msgspec.to_builtins(before), msgspec.to_builtins(after)))
    fields = {detail.partition(":")[0].partition(".")[0] for detail in details}
    if other_adapters:
        return Change(after.id, "replace", (*details, "its adapters differ"))
    if fields - WITHOUT_REPLACEMENT:
        return Change(after.id, "replace", details)
    return Change(after.id, "scale" if fields & {"replicas"} else "keep", details)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if prefix == "" and isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{name}.")
        else:
            yield f"{prefix}{name}: {_text(old)} -> {_text(new)}"


def _text(value: object) -> str:
    return "default" if value is None else str(value)


@dataclass(slots=True)
class Gpu:
    """``free`` is the part of it that no replica has."""

    node: str
    number: int
    name: str
    memory_bytes: int
    free: float = 1.0
    replicas: list[Placed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Placed:
    """A replica on one of its GPUs; ``fit`` is None if the GPU's memory or the model's files are not known."""

    model: str
    share: float
    fit: Fit | None


@dataclass(frozen=True, slots=True)
class Placement:
    """Ray places in its own order; how much fits is the same. ``problems`` is empty if all of it does."""

    gpus: list[Gpu]
    problems: list[str]


def place(models: Sequence[tuple[Model, Shape | None, float]], nodes: Sequence[Mapping[str, Any]]) -> Placement:
    """``models`` come with their files' shape, and the GPUs of each replica; the most replicas are placed."""
    gpus = [
        Gpu(node["address"], number, gpu["name"], gpu["memory_bytes"])
        for node in nodes
        for number, gpu in enumerate(node["gpus"])
    ]
    problems: list[str] = []
    for model, shape, share in sorted(models, key=lambda entry: -entry[2]):
        if not share or model.base is not None:
            continue
        for number in range(model.replicas.most):
            chosen = _choose(gpus, share)
            if not chosen:
                missing = model.replicas.most - number
                problems.append(
                    f"{model.id}: no room for {missing} of {model.replicas.most} replicas of {share:g} GPUs"
                )
                break
            fit = _put(chosen, model, shape, share)
            if fit is not None and not fit.fits and number == 0:
                problems.append(
                    f"{model.id}: {fit.short_bytes / (1 << 30):.1f} GiB are missing on each GPU for the weights"
                    f" and one context of {model.context_length} tokens"
                )
    return Placement(gpus, problems)


def _choose(gpus: Sequence[Gpu], share: float) -> list[Gpu]:
    """One GPU with that part free, or so many whole ones of one node."""
    if share < 1:
        able = [gpu for gpu in gpus if gpu.free >= share - 1e-9]
        return able[:1] and [min(able, key=lambda gpu: gpu.free)]
    for node in dict.fromkeys(gpu.node for gpu in gpus):
        free = [gpu for gpu in gpus if gpu.node == node and gpu.free == 1]
        if len(free) >= share:
            return free[: int(share)]
    return []


def _put(chosen: Sequence[Gpu], model: Model, shape: Shape | None, share: float) -> Fit | None:
    fit = None
    for gpu in chosen:
        if shape is not None and gpu.memory_bytes:
            fit = fit_on(model, shape, share, gpu.memory_bytes)
        gpu.free -= min(share, 1)
        gpu.replicas.append(Placed(model.id, min(share, 1), fit))
    return fit


def memory_problems(models: Sequence[tuple[Model, Shape | None, float]], memory_bytes: int) -> list[str]:
    """Of the replicas without a GPU, on one machine of so much memory."""
    needed = sum(
        cpu_bytes(model, shape) * model.replicas.most
        for model, shape, share in models
        if shape is not None and not share and model.base is None
    )
    if needed <= memory_bytes:
        return []
    gib = 1 << 30
    return [f"the models need {needed / gib:.1f} GiB of memory, the machine has {memory_bytes / gib:.1f}"]
