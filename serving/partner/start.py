"""A replica whose model a partner serves; what ``serving.engine.start`` is to one that has an engine."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from serving.catalog.models import Model
from serving.catalog.partners import Partner
from serving.catalog.traits import Traits
from serving.metering.meter import MeterBook, Request
from serving.partner.app import PartnerApp
from serving.partner.client import PartnerClient
from serving.partner.metrics import PartnerMetrics
from serving.replica.guard import Guard


class RunningPartner:
    """The partner's API with every request metered, behind the guard: what else is a ``RunningEngine``."""

    def __init__(self, guard: Guard, client: PartnerClient, traits: Traits) -> None:
        self.guard = guard
        self.traits = traits
        self._client = client

    @property
    def trouble(self) -> str:
        return self._client.trouble

    def served_by(self, server: object) -> None:
        """Nothing here stops the server."""

    async def check(self) -> None:
        """A partner that is away is no reason to start the replica again."""

    async def stop(self) -> None:
        await self._client.close()


class _Port:
    """``serving.replica.answer.Engine`` without an engine: whatever a partner began, it finishes."""

    def is_healthy(self) -> bool:
        return True

    def unfinished(self, request: Request) -> list[str]:  # noqa: ARG002
        return []

    async def abort(self, sequence_ids: list[str]) -> None:
        pass


def start(model: Model, partner: Partner, key: str, book: MeterBook, secret: str) -> RunningPartner:
    """To be called in a running event loop."""
    client, metrics = PartnerClient(partner, key), PartnerMetrics(CollectorRegistry())
    guard = Guard(
        PartnerApp(model, partner, client, metrics),
        engine=_Port(),
        book=book,
        secret=secret,
        queue_limit=model.queue_limit,
        seats=partner.at_once,
        seat_each=True,
    )
    guard.metrics = metrics.render
    return RunningPartner(guard, client, traits_of(partner))


def traits_of(partner: Partner) -> Traits:
    return Traits(
        endpoints=partner.endpoints,
        input=partner.input,
        output=("embedding",) if partner.endpoints == ("/v1/embeddings",) else ("text",),
        template_tokens=partner.template_tokens,
        reads_whole_body=True,
    )
