"""What configs/models.yaml says. Pure: a parsed document in, models out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from serving.catalog.partners import Partner, PartnerError, checked

MICRODOLLARS = 1_000_000
EngineArg = bool | int | float | str | list[str] | dict[str, Any]


class ModelsError(Exception):
    """A model cannot be used as it is written; the message names the entry, the field and what is expected."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Micro-dollars per million tokens."""

    input: int
    cached_input: int
    output: int


@dataclass(frozen=True, slots=True)
class Replicas:
    """Between ``least`` and ``most``: one for each ``target`` requests that run or wait, rounded up.

    One fewer only when that was enough for ``idle_seconds``.
    """

    least: int = 1
    most: int = 1
    target: int = 32
    idle_seconds: int = 300


@dataclass(frozen=True, slots=True)
class Cold:
    """Of a model without a replica, each gateway process keeps ``queue`` requests waiting for so many ``seconds``.

    With a queue of 0 they are told at once to come again.
    """

    queue: int = 0
    seconds: int = 120


@dataclass(frozen=True, slots=True)
class Model:
    """One entry.

    ``gpus`` are those of each replica, a part of one if less than 1; "auto" is as many as the parallel settings in
    ``engine_args`` need if the cluster has any, else none. ``base`` is the model that an adapter (LoRA) changes:
    the adapter is served by the base's replicas, and its other settings are the base's.

    ``partner`` serves the model if there is one; ``source`` is "" then. ``fallbacks`` are the models that answer,
    in this order, when no replica of this one does.
    """

    id: str
    source: str
    context_length: int
    rates: Rates
    replicas: Replicas = Replicas()
    gpus: float | Literal["auto"] = "auto"
    kv_cache_gib: int = 1
    queue_limit: int = 256
    drain_seconds: int = 600
    cold: Cold = Cold()
    engine_args: Mapping[str, EngineArg] = field(default_factory=dict)
    base: str | None = None
    partner: Partner | None = None
    fallbacks: tuple[str, ...] = ()

    @property
    def parallel(self) -> int:
        """How many GPUs the parallel settings make of one replica."""
        sizes = (self.engine_args.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline"))
        return math.prod(size for size in sizes if isinstance(size, int))

    def gpus_of_each_replica(self, cluster_gpus: float) -> float:
        """What ``gpus: auto`` comes to on a cluster of so many."""
        if self.partner is not None:
            return 0
        if self.gpus == "auto":
            return self.parallel if cluster_gpus >= 1 else 0
        return self.gpus


class _RatesEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    input: str
    cached_input: str
    output: str


Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
HUB_SOURCE = r"hub:[\w.-]+(/[\w.-]+)?(@[\w./-]+)?"
Source = Annotated[str, msgspec.Meta(pattern=rf"^(package:\w+/.+|directory:.+|{HUB_SOURCE})$")]
Count = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=7 * 24 * 3600)]


class _ReplicasEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    min: Annotated[int, msgspec.Meta(ge=0, le=1024)]
    max: Count
    target: Count = Replicas().target
    idle_seconds: Seconds = Replicas().idle_seconds


class _ColdEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    queue: Annotated[int, msgspec.Meta(ge=0)] = Cold().queue
    seconds: Seconds = Cold().seconds


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    source: Source
    context_length: Annotated[int, msgspec.Meta(ge=16)]
    rates: _RatesEntry
    replicas: Count | _ReplicasEntry = 1
    gpus: Annotated[float, msgspec.Meta(ge=0, le=64)] | Literal["auto"] = "auto"
    kv_cache_gib: Annotated[int, msgspec.Meta(ge=1)] = 1
    queue_limit: Annotated[int, msgspec.Meta(ge=1)] = 256
    drain_seconds: Annotated[int, msgspec.Meta(ge=0, le=24 * 3600)] = 600
    when_cold: _ColdEntry = _ColdEntry()
    engine_args: dict[str, bool | int | float | str | list[str] | dict[str, Any]] = {}
    fallbacks: tuple[Id, ...] = ()


class _AdapterEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    base: Id
    source: Source
    rates: _RatesEntry
    fallbacks: tuple[Id, ...] = ()


class _PartnerModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    partner: Partner
    context_length: Annotated[int, msgspec.Meta(ge=16)]
    rates: _RatesEntry
    replicas: Count = 1
    queue_limit: Annotated[int, msgspec.Meta(ge=1)] = 256
    drain_seconds: Annotated[int, msgspec.Meta(ge=0, le=24 * 3600)] = 600
    fallbacks: tuple[Id, ...] = ()


# What serving.engine decides itself: who is answered, what is logged, how tokens are counted.
RESERVED_ENGINE_ARGS = frozenset(
    {
        "model", "served_model_name", "max_model_len", "host", "port", "uds", "api_key", "middleware",
        "enable_log_requests", "enable_log_outputs", "enable_log_deltas", "log_error_stack", "max_log_len",
        "trust_request_chat_template", "enable_prompt_embeds", "kv_transfer_config", "kv_events_config",
        "otlp_traces_endpoint", "collect_detailed_traces", "profiler_config", "enable_prompt_tokens_details",
        "enable_force_include_usage", "data_parallel_size", "return_tokens_as_token_ids",
        "mm_processor_cache_gb", "allowed_local_media_path", "trust_request_mm_kwargs", "tool_server",
        "enable_lora", "lora_modules",
    }
)  # fmt: skip
INSTEAD = {
    "data_parallel_size": "write `replicas`: each is an engine of its own",
    "lora_modules": "write an entry with `base` for each adapter",
    "enable_lora": "write an entry with `base` for each adapter",
}


def parse_models(document: Mapping[str, Any]) -> tuple[Model, ...]:
    """The models in the document's order. Raises ModelsError."""
    entries = document.get("models")
    if set(document) != {"models"} or not isinstance(entries, list) or not entries:
        raise ModelsError("models: expected one list called `models` with at least one entry")
    own = {
        position: (_partner_model if _has(entry, "partner") else _model)(position, entry)
        for position, entry in enumerate(entries)
        if not _has(entry, "base")
    }
    bases = {model.id: model for model in own.values() if model.partner is None}
    models = tuple(
        own[position] if position in own else _adapter(position, entry, bases)
        for position, entry in enumerate(entries)
    )
    for model in models:
        if sum(other.id == model.id for other in models) > 1:
            raise ModelsError(f"models: the id {model.id!r} is used twice")
    _check_fallbacks(models)
    return models


def _check_fallbacks(models: Iterable[Model]) -> None:
    """Whoever answers in a model's place can read what it can."""
    known = {model.id: model for model in models}
    for position, model in enumerate(known.values()):
        where = f"{_where(position, {'id': model.id})}: fallbacks"
        for name in model.fallbacks:
            if name not in known or name == model.id or model.fallbacks.count(name) > 1:
                raise ModelsError(f"{where}: expected other models, each once, got {name!r}")
            if known[name].context_length < model.context_length:
                raise ModelsError(f"{where}: the context of {name} is shorter than {model.context_length} tokens")


def adapters_of(model: Model, models: Iterable[Model]) -> tuple[Model, ...]:
    """Those that the model's replicas serve besides it."""
    return tuple(other for other in models if other.base == model.id)


def partners_of(model: Model, models: Mapping[str, Model]) -> list[dict[str, str]]:
    """Who but the operator may get what is sent to the model, and when."""
    served = [] if model.partner is None else [{"name": model.partner.name, "when": "always"}]
    others = [partner for name in model.fallbacks if (partner := models[name].partner) is not None]
    return served + [{"name": partner.name, "when": "fallback"} for partner in others]


def _has(raw: object, field: str) -> bool:
    return isinstance(raw, dict) and field in raw


def _where(position: int, raw: object) -> str:
    name = raw.get("id") if isinstance(raw, dict) else None
    return f"models[{position}]" + (f" ({name})" if isinstance(name, str) else "")


def _model(position: int, raw: object) -> Model:
    where = _where(position, raw)
    entry = _converted(where, raw, _Entry)
    for argument in entry.engine_args:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", argument):
            raise ModelsError(f"{where}: engine_args.{argument}: expected a name like max_num_seqs")
        if argument in RESERVED_ENGINE_ARGS:
            what = INSTEAD.get(argument, "is decided by the appliance")
            raise ModelsError(f"{where}: engine_args.{argument}: {what}")
    if not isinstance(entry.engine_args.get("structured_outputs_config", {}), dict):
        raise ModelsError(f"{where}: engine_args.structured_outputs_config: expected a mapping")
    if entry.gpus != "auto" and entry.gpus > 1 and entry.gpus != int(entry.gpus):
        raise ModelsError(f"{where}: gpus: expected a part of one GPU, or a whole number of them")
    model = Model(
        id=entry.id,
        source=entry.source,
        context_length=entry.context_length,
        rates=_rates(where, entry.rates),
        replicas=_replicas(where, entry.replicas),
        gpus=entry.gpus,
        kv_cache_gib=entry.kv_cache_gib,
        queue_limit=entry.queue_limit,
        drain_seconds=entry.drain_seconds,
        cold=Cold(entry.when_cold.queue, entry.when_cold.seconds),
        engine_args=entry.engine_args,
        fallbacks=entry.fallbacks,
    )
    if model.gpus not in ("auto", 0) and model.parallel > 1 and model.gpus != model.parallel:
        raise ModelsError(f"{where}: gpus: the parallel settings in engine_args make it {model.parallel}")
    return model


def _adapter(position: int, raw: object, bases: Mapping[str, Model]) -> Model:
    where = _where(position, raw)
    entry = _converted(where, raw, _AdapterEntry)
    base = bases.get(entry.base)
    if base is None:
        raise ModelsError(f"{where}: base: there is no model {entry.base!r} that is no adapter itself")
    return replace(
        base,
        id=entry.id,
        source=entry.source,
        rates=_rates(where, entry.rates),
        base=base.id,
        engine_args={},
        fallbacks=entry.fallbacks,
    )


def _partner_model(position: int, raw: object) -> Model:
    where = _where(position, raw)
    entry = _converted(where, raw, _PartnerModelEntry)
    try:
        partner = checked(entry.partner, entry.id)
    except PartnerError as error:
        raise ModelsError(f"{where}: partner.{error}") from None
    return Model(
        id=entry.id,
        source="",
        context_length=entry.context_length,
        rates=_rates(where, entry.rates),
        replicas=_replicas(where, entry.replicas),
        queue_limit=entry.queue_limit,
        drain_seconds=entry.drain_seconds,
        partner=partner,
        fallbacks=entry.fallbacks,
    )


def _replicas(where: str, entry: int | _ReplicasEntry) -> Replicas:
    if isinstance(entry, int):
        return Replicas(least=entry, most=entry)
    if entry.min > entry.max:
        raise ModelsError(f"{where}: replicas: min is more than max")
    return Replicas(entry.min, entry.max, entry.target, entry.idle_seconds)


Entry = TypeVar("Entry")


def _converted(where: str, raw: object, kind: type[Entry]) -> Entry:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ModelsError(f"{where}: {_readable(error)}") from None


def _readable(error: msgspec.ValidationError) -> str:
    """``Expected `int`, got `str` - at `$.rates.input` `` becomes ``rates.input: expected `int`, got `str` ``."""
    text = str(error)
    what, separator, path = text.rpartition(" - at `$.")
    if not separator:
        return text[:1].lower() + text[1:]
    return f"{path.rstrip('`')}: {what[:1].lower()}{what[1:]}"


def _rates(where: str, entry: _RatesEntry) -> Rates:
    return Rates(
        input=_rate(where, "input", entry.input),
        cached_input=_rate(where, "cached_input", entry.cached_input),
        output=_rate(where, "output", entry.output),
    )


def _rate(where: str, name: str, dollars: str) -> int:
    """Micro-dollars per million tokens from dollars per million tokens, exact."""
    try:
        microdollars = Decimal(dollars) * MICRODOLLARS
    except InvalidOperation:
        microdollars = Decimal("NaN")
    if not microdollars.is_finite() or microdollars < 0 or microdollars != int(microdollars):
        raise ModelsError(
            f'{where}: rates.{name}: expected dollars per million tokens, such as "0.10",'
            f" with at most six decimals, got {dollars!r}"
        )
    return int(microdollars)
