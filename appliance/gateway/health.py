"""``/livez``: this process answers. ``/readyz``: database, Ray and at least one model answer, asked now."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text

from billing.database.db import Database
from billing.errors import DatabaseUnavailable
from serving.client.replicas import EngineClient

RAY_SILENCE_SECONDS = 5.0
CHECK_TIMEOUT_SECONDS = 3.0


def health_router(database: Database, engine_client: EngineClient, near: Callable[[Request], None]) -> APIRouter:
    """``near`` hides from strangers what the system is made of (``appliance.gateway.nearby``)."""
    router = APIRouter()

    async def database_answers() -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS), database.begin() as connection:
                await connection.execute(text("SELECT 1"))
        except (DatabaseUnavailable, TimeoutError):
            return False
        return True

    async def model_answers(model: str) -> bool:
        view = engine_client.directory.model(model)
        if view is not None and view.state == "cold":
            return True  # it starts for whoever asks
        replicas = () if view is None else view.replicas
        answers = await asyncio.gather(*(engine_client.is_healthy(replica) for replica in replicas))
        return any(answers)

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", dependencies=[Depends(near)])
    async def readyz() -> JSONResponse:
        models = list(engine_client.directory.models())
        has_database, *answering = await asyncio.gather(
            database_answers(), *(model_answers(model) for model in models)
        )
        has_ray = engine_client.directory.age_seconds(time.time()) < RAY_SILENCE_SECONDS
        ready = has_database and has_ray and any(answering)
        document: dict[str, Any] = {
            "status": "ready" if ready else "not ready",
            "database": has_database,
            "ray": has_ray,
            "models": dict(zip(models, answering, strict=True)),
        }
        return JSONResponse(document, status_code=200 if ready else 503)

    return router
