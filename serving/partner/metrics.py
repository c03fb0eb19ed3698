"""What an operator watches of a partner, in Prometheus's text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class PartnerMetrics:
    """Labels for model and replica come with the target (``/metrics/targets``)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter(
            "appliance_partner_requests", "Requests to the partner.", ["outcome"], registry=self._registry
        )
        self._seconds = Histogram(
            "appliance_partner_seconds", "Until its answer's end.", buckets=SECONDS, registry=self._registry
        )
        self._over = Counter(
            "appliance_partner_tokens_over_hold",
            "Tokens that the partner counted beyond what was held for: charged to nobody.",
            registry=self._registry,
        )
        self._paused = Gauge(
            "appliance_partner_paused",
            "1 while the partner is not asked, after failures.",
            registry=self._registry,
        )

    def observe(self, outcome: str, seconds: float, over: int, *, paused: bool) -> None:
        self._requests.labels(outcome).inc()
        self._seconds.observe(seconds)
        self._over.inc(over)
        self._paused.set(paused)

    def render(self) -> bytes:
        return generate_latest(self._registry)
