"""``GET /v1/models``: what is offered, in OpenAI's fields and with the prices in force."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request

from appliance.errors import ModelNotFound, Unavailable
from appliance.gateway.books import Books
from appliance.gateway.caller import bearer_key, wrong_key
from billing.clock import Clock
from billing.db import Database
from billing.errors import DatabaseUnavailable
from billing.keys import is_active
from billing.money import MICRODOLLARS_PER_DOLLAR
from billing.pricing import Rate
from billing.rates import rates_in_force
from serving.models import Model


def models_router(models: Sequence[Model], database: Database, books: Books, clock: Clock) -> APIRouter:
    """The price list is public; a key that is sent is checked all the same, as clients try theirs here."""
    router = APIRouter()
    offered = {model.id: model for model in models}

    async def prices(request: Request) -> dict[str, Rate]:
        key = bearer_key(request.headers.raw)
        try:
            async with database.begin() as connection:
                if key is not None and not await is_active(connection, books.digest(key)):
                    raise wrong_key()
                return await rates_in_force(connection, clock)
        except DatabaseUnavailable:
            raise Unavailable("Prices cannot be read at the moment.") from None

    @router.get("/v1/models")
    async def list_models(request: Request) -> dict[str, Any]:
        rates = await prices(request)
        return {"object": "list", "data": [_describe(model, rates.get(model.id)) for model in models]}

    @router.get("/v1/models/{model_id:path}")
    async def get_model(model_id: str, request: Request) -> dict[str, Any]:
        rates = await prices(request)
        if model_id not in offered:
            raise ModelNotFound(model_id)
        return _describe(offered[model_id], rates.get(model_id))

    return router


def _describe(model: Model, rate: Rate | None) -> dict[str, Any]:
    """Prices are dollars per million tokens, as decimal strings."""
    return {
        "id": model.id,
        "object": "model",
        "created": 0,
        "owned_by": "operator",
        "context_length": model.context_length,
        "pricing": None
        if rate is None
        else {
            "currency": "USD",
            "unit": "million tokens",
            "input": _dollars(rate.input),
            "cached_input": _dollars(rate.cached_input),
            "output": _dollars(rate.output),
        },
    }


def _dollars(microdollars: int) -> str:
    whole, rest = divmod(microdollars, MICRODOLLARS_PER_DOLLAR)
    return f"{whole}.{rest:06d}".rstrip("0").ljust(len(str(whole)) + 3, "0")
