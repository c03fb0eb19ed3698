"""What Prometheus reads. With several gateway processes the values are summed over files they share
(``PROMETHEUS_MULTIPROC_DIR``, set by the supervisor). No label ever carries anything of a customer's content.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from appliance.gateway.asgi import Exchange
from serving.client.published import Directory
from serving.metering.meter import Meter

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
LOOP_PERIOD_SECONDS = 0.25


class GatewayMetrics:
    """To be created once a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "appliance_requests", "Requests by outcome.", ("model", "endpoint", "status"), registry=registry
        )
        self._tokens = Counter(
            "appliance_tokens", "Tokens charged, by kind.", ("model", "kind"), registry=registry
        )
        self._images = Counter("appliance_images", "Images charged.", ("model",), registry=registry)
        self._audio_seconds = Counter(
            "appliance_audio_seconds", "Seconds of recordings charged.", ("model",), registry=registry
        )
        self._first_token = Histogram(
            "appliance_time_to_first_token_seconds",
            "From a request's arrival to the first bytes of its answer.",
            ("model",), buckets=SLOW, registry=registry,
        )  # fmt: skip
        self._per_token = Histogram(
            "appliance_time_per_output_token_seconds", "Mean time between the tokens of an answer.",
            ("model",), buckets=FAST, registry=registry,
        )  # fmt: skip
        self._total = Histogram(
            "appliance_request_seconds", "From the request's arrival to the end of its answer.",
            ("model", "endpoint"), buckets=SLOW, registry=registry,
        )  # fmt: skip
        self.admission_seconds = Histogram(
            "appliance_admission_seconds", "Waiting for an admission decision.", buckets=FAST, registry=registry
        )
        self.settlement_seconds = Histogram(
            "appliance_settlement_seconds", "Waiting for a durable charge.", buckets=FAST, registry=registry
        )
        self.admission_batch = Histogram(
            "appliance_admission_batch_size",
            "Requests decided in one transaction.",
            buckets=SIZES,
            registry=registry,
        )
        self.settlement_batch = Histogram(
            "appliance_settlement_batch_size",
            "Requests settled in one transaction.",
            buckets=SIZES,
            registry=registry,
        )
        self.connections_open = Gauge(
            "appliance_connections_open", "Connections of clients.", registry=registry, multiprocess_mode="livesum"
        )
        self._refused = Counter(
            "appliance_connections_refused", "Connections that ended at the door.", ("reason",), registry=registry
        )
        self.sightings_dropped = Counter(
            "appliance_sightings_dropped", "Requests that the review of sharing and spam does not see.",
            registry=registry,
        )  # fmt: skip

        self._loop_delay = Histogram(
            "appliance_event_loop_delay_seconds", "How late a gateway process comes to what is due.",
            buckets=FAST, registry=registry,
        )  # fmt: skip

    async def watch_loop(self) -> None:
        """Until it is cancelled: what holds this process up, every client waits for."""
        while True:
            due = time.monotonic() + LOOP_PERIOD_SECONDS
            await asyncio.sleep(LOOP_PERIOD_SECONDS)
            self._loop_delay.observe(max(0.0, time.monotonic() - due))

    def observe_refusal(self, reason: str) -> None:
        """At the door, before anything of a request is known."""
        self._refused.labels(reason).inc()

    def observe_other(self, status: int) -> None:
        """A request to anything but the generating endpoints."""
        self._requests.labels("", "other", str(status)).inc()

    def observe_charge(self, model: str, meter: Meter) -> None:
        """Tokens charged, of answers that were cut off too."""
        for kind, count in (
            ("prompt", meter.prompt_tokens - meter.cached_tokens),
            ("cached", meter.cached_tokens),
            ("completion", meter.completion_tokens),
        ):
            self._tokens.labels(model, kind).inc(count)
        if meter.images:
            self._images.labels(model).inc(meter.images)
        if meter.audio_seconds:
            self._audio_seconds.labels(model).inc(meter.audio_seconds)

    def observe(self, exchange: Exchange) -> None:
        """Status 499 is a client that hung up, 502 an engine that failed in the middle of an answer."""
        self._requests.labels(exchange.model, exchange.endpoint.path, exchange.outcome).inc()
        if exchange.first_chunk_at is not None:
            self._first_token.labels(exchange.model).observe(exchange.first_chunk_at - exchange.begun_at)
        if exchange.settled_at is None or exchange.meter is None:
            return
        meter = exchange.meter
        self._total.labels(exchange.model, exchange.endpoint.path).observe(exchange.settled_at - exchange.begun_at)
        if exchange.first_chunk_at and exchange.last_chunk_at and meter.completion_tokens > 1:
            generating = exchange.last_chunk_at - exchange.first_chunk_at
            if generating > 0:
                self._per_token.labels(exchange.model).observe(generating / (meter.completion_tokens - 1))


class DirectoryMetrics(Collector):
    """What is published of the models, looked at whenever Prometheus asks: every process says the same of it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def collect(self) -> Iterator[GaugeMetricFamily]:
        wanted = GaugeMetricFamily(
            "appliance_model_replicas_wanted", "Replicas that a model should have now.", labels=["model"]
        )
        answering = GaugeMetricFamily(
            "appliance_model_replicas", "Replicas of a model that take requests.", labels=["model"]
        )
        for model, view in self._directory.models().items():
            wanted.add_metric([model], view.wanted)
            answering.add_metric([model], sum(not replica.draining for replica in view.replicas))
        age = self._directory.age_seconds(time.time())
        yield wanted
        yield answering
        yield GaugeMetricFamily(
            "appliance_directory_age_seconds", "How long ago the models were last heard of.", value=age
        )


def render(registry: CollectorRegistry, published: CollectorRegistry, shared: Path | None) -> bytes:
    """The text format; of all processes, where they share the folder ``shared``, and ``published`` once."""
    if shared is not None:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(shared))  # type: ignore[no-untyped-call]
    return generate_latest(registry) + generate_latest(published)
