"""``GET /v1/models``: what is offered, in OpenAI's and Anthropic's fields, with the prices now and next."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from appliance.errors import ModelNotFound, Unavailable
from appliance.gateway.caller import Callers
from appliance.gateway.refusals import Refusals
from billing.clock import Clock
from billing.customers.keys import owner_of
from billing.database.db import Database
from billing.errors import DatabaseUnavailable
from billing.prices.money import MICRODOLLARS_PER_DOLLAR, NANODOLLARS_PER_DOLLAR, decimal
from billing.prices.rates import Listed, Version, price_list
from serving.catalog.declared import Declared
from serving.catalog.models import Model, partners_of
from serving.catalog.traits import Traits
from serving.client.published import Directory, ModelView


def models_router(
    declared: Declared,
    directory: Directory,
    database: Database,
    callers: Callers,
    refusals: Refusals,
    clock: Clock,
) -> APIRouter:
    """The price list is public; a key that is sent is checked all the same, as clients try theirs here."""
    router = APIRouter()

    async def prices(request: Request) -> dict[str, Listed]:
        caller = callers.sent(request.scope, anthropic=True)
        try:
            async with database.begin() as connection:
                if caller is None or await owner_of(connection, caller.digest, clock()) is not None:
                    return await price_list(connection, clock)
        except DatabaseUnavailable:
            raise Unavailable("Prices cannot be read at the moment.") from None
        raise await refusals.unknown(caller)

    @router.get("/v1/models")
    async def list_models(request: Request) -> dict[str, Any]:
        rates, views, models = await prices(request), directory.models(), list(declared.models().values())
        return {
            "object": "list",
            "data": [
                _describe(
                    model,
                    declared.since(model.id),
                    views.get(model.id),
                    rates.get(model.id),
                    partners_of(model, declared.models()),
                )
                for model in models
            ],
            "has_more": False,
            "first_id": models[0].id if models else None,
            "last_id": models[-1].id if models else None,
        }

    @router.get("/v1/models/{model_id:path}")
    async def get_model(model_id: str, request: Request) -> dict[str, Any]:
        rates, models = await prices(request), declared.models()
        if model_id not in models:
            raise ModelNotFound(model_id)
        model, since = models[model_id], declared.since(model_id)
        return _describe(model, since, directory.model(model_id), rates.get(model_id), partners_of(model, models))

    return router


def _describe(
    model: Model, since: int, view: ModelView | None, listed: Listed | None, partners: list[dict[str, str]]
) -> dict[str, Any]:
    """OpenAI's fields, Anthropic's, and ours; what only a running engine knows is null until one ran.

    ``since`` is when the model was first declared, in seconds since 1970.
    """
    traits = Traits() if view is None else view.traits
    pricing: dict[str, Any] | None = None
    if listed is not None:
        pricing = {"currency": "USD", "unit": "million tokens", **_prices(listed.current)}
        pricing["next"] = None if listed.next is None else _prices(listed.next)
    return {
        "id": model.id,
        "object": "model",
        "created": since,
        "owned_by": "operator" if model.partner is None else "partner",
        "type": "model",
        "display_name": model.id,
        "created_at": datetime.fromtimestamp(since, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "capabilities": None,
        "max_input_tokens": model.context_length,
        "max_tokens": model.context_length,
        "context_length": model.context_length,
        "modalities": {"input": traits.input, "output": traits.output} if traits.endpoints else None,
        "endpoints": traits.endpoints or None,
        "partners": partners,
        "pricing": pricing,
    }


def _prices(version: Version) -> dict[str, Any]:
    """Dollars as decimal strings: per million tokens; for each request, image, second of audio if not free."""
    per_million = {name: getattr(version, name) for name in ("input", "cached_input", "output")}
    each = {name: getattr(version, name) for name in ("request", "image", "audio_second")}
    return {
        "effective_at": version.effective_at.isoformat(),
        **{name: decimal(amount, MICRODOLLARS_PER_DOLLAR) for name, amount in per_million.items()},
        **{name: decimal(amount, NANODOLLARS_PER_DOLLAR) for name, amount in each.items() if amount},
    }
