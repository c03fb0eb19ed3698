"""What configs/models.yaml says. Pure: a parsed document in, models out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

import msgspec

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
class Model:
    """One entry. ``gpus`` are those of each replica; "auto" is one if the cluster has any, else none."""

    id: str
    source: str
    context_length: int
    rates: Rates
    replicas: int
    gpus: int | Literal["auto"]
    kv_cache_gib: int
    queue_limit: int
    engine_args: Mapping[str, EngineArg]


class _RatesEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    input: str
    cached_input: str
    output: str


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    source: Annotated[str, msgspec.Meta(pattern=r"^(package:\w+/.+|directory:.+)$")]
    context_length: Annotated[int, msgspec.Meta(ge=16)]
    rates: _RatesEntry
    replicas: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    gpus: Annotated[int, msgspec.Meta(ge=0, le=64)] | Literal["auto"] = "auto"
    kv_cache_gib: Annotated[int, msgspec.Meta(ge=1)] = 1
    queue_limit: Annotated[int, msgspec.Meta(ge=1)] = 256
    engine_args: dict[str, bool | int | float | str | list[str] | dict[str, Any]] = {}


# What serving.engine decides itself: who is answered, what is logged, how tokens are counted.
RESERVED_ENGINE_ARGS = frozenset(
    {
        "model", "served_model_name", "max_model_len", "host", "port", "uds", "api_key", "middleware",
        "enable_log_requests", "enable_log_outputs", "enable_log_deltas", "log_error_stack", "max_log_len",
        "trust_request_chat_template", "enable_prompt_embeds", "kv_transfer_config", "kv_events_config",
        "otlp_traces_endpoint", "collect_detailed_traces", "profiler_config", "enable_prompt_tokens_details",
        "enable_force_include_usage", "data_parallel_size", "return_tokens_as_token_ids", "speculative_config",
        "mm_processor_cache_gb", "allowed_local_media_path", "trust_request_mm_kwargs", "tool_server",
    }
)  # fmt: skip


def parse_models(document: Mapping[str, Any]) -> tuple[Model, ...]:
    """The models in the document's order. Raises ModelsError."""
    entries = document.get("models")
    if set(document) != {"models"} or not isinstance(entries, list) or not entries:
        raise ModelsError("models: expected one list called `models` with at least one entry")
    models = tuple(_model(position, entry) for position, entry in enumerate(entries))
    for model in models:
        if sum(other.id == model.id for other in models) > 1:
            raise ModelsError(f"models: the id {model.id!r} is used twice")
    return models


def _model(position: int, raw: object) -> Model:
    name = raw.get("id") if isinstance(raw, dict) else None
    where = f"models[{position}]" + (f" ({name})" if isinstance(name, str) else "")
    try:
        entry = msgspec.convert(raw, _Entry)
    except msgspec.ValidationError as error:
        raise ModelsError(f"{where}: {_readable(error)}") from None
    for argument in entry.engine_args:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", argument):
            raise ModelsError(f"{where}: engine_args.{argument}: expected a name like max_num_seqs")
        if argument in RESERVED_ENGINE_ARGS:
            raise ModelsError(f"{where}: engine_args.{argument}: is decided by the appliance")
    return Model(
        id=entry.id,
        source=entry.source,
        context_length=entry.context_length,
        rates=Rates(
            input=_rate(where, "input", entry.rates.input),
            cached_input=_rate(where, "cached_input", entry.rates.cached_input),
            output=_rate(where, "output", entry.rates.output),
        ),
        replicas=entry.replicas,
        gpus=entry.gpus,
        kv_cache_gib=entry.kv_cache_gib,
        queue_limit=entry.queue_limit,
        engine_args=entry.engine_args,
    )


def _readable(error: msgspec.ValidationError) -> str:
    """``Expected `int`, got `str` - at `$.rates.input` `` becomes ``rates.input: expected `int`, got `str` ``."""
    text = str(error)
    what, separator, path = text.rpartition(" - at `$.")
    if not separator:
        return text[:1].lower() + text[1:]
    return f"{path.rstrip('`')}: {what[:1].lower()}{what[1:]}"


def _rate(where: str, field: str, dollars: str) -> int:
    """Micro-dollars per million tokens from dollars per million tokens, exact."""
    try:
        microdollars = Decimal(dollars) * MICRODOLLARS
    except InvalidOperation:
        microdollars = Decimal("NaN")
    if not microdollars.is_finite() or microdollars < 0 or microdollars != int(microdollars):
        raise ModelsError(
            f'{where}: rates.{field}: expected dollars per million tokens, such as "0.10",'
            f" with at most six decimals, got {dollars!r}"
        )
    return int(microdollars)
