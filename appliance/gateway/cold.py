"""Requests for a model that has no replica: they wake it, and wait for it or are told when to come again."""

import asyncio
from collections import Counter

from appliance.errors import Unavailable
from serving.catalog.models import Model
from serving.client.published import Directory, ModelView
from serving.client.wanted import Wanted

LOOK_SECONDS = 0.2
START_SECONDS = 60.0
"""Of a model whose start was never measured."""
AWAY_RETRY_SECONDS = 5.0


class Cold:
    def __init__(self, directory: Directory, wanted: Wanted) -> None:
        self._directory = directory
        self._wanted = wanted
        self._waiting: Counter[str] = Counter()

    async def wait(self, model: Model) -> ModelView:
        """The model once a replica is there. Raises Unavailable."""
        view = self._directory.model(model.id)
        if view is None or view.state == "failed":
            raise Unavailable(f"The model `{model.id}` is not running at the moment.", AWAY_RETRY_SECONDS)
        self._wanted.want(model.id)
        if self._waiting[model.id] >= model.cold.queue:
            raise self._away(model, view)
        self._waiting[model.id] += 1
        try:
            return await self._until_there(model)
        finally:
            self._waiting[model.id] -= 1

    def wake(self, model: str) -> None:
        """Of a model whose fallbacks answer until it is there."""
        view = self._directory.model(model)
        if view is not None and view.state == "cold":
            self._wanted.want(model)

    async def woken(self, model: Model | None) -> bool:
        """Whether a model that fell asleep at this moment is there again."""
        view = None if model is None else self._directory.model(model.id)
        if model is None or view is None or view.answers:
            return False
        try:
            await self.wait(model)
        except Unavailable:
            return False
        return True

    async def _until_there(self, model: Model) -> ModelView:
        view = self._directory.model(model.id)
        looks = round(model.cold.seconds / LOOK_SECONDS)
        for _ in range(looks):
            await asyncio.sleep(LOOK_SECONDS)
            self._wanted.want(model.id)
            view = self._directory.model(model.id)
            if view is not None and view.answers:
                return view
        raise self._away(model, view)

    def _away(self, model: Model, view: ModelView | None) -> Unavailable:
        seconds = START_SECONDS if view is None or not view.start_seconds else view.start_seconds
        return Unavailable(f"The model `{model.id}` is being started.", seconds)
