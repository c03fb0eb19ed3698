"""What Prometheus reads of the process that serves the pages, by the files that it shares with the gateways."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class SiteMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "appliance_site_request_seconds", "From a page's request to its end, by status.", ["status"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.connections_open = Gauge(
            "appliance_site_connections_open", "Connections of browsers.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._refused = Counter(
            "appliance_site_connections_refused", "Connections that ended at the site's door.", ["reason"],
            registry=registry,
        )  # fmt: skip

        self.webhooks = Counter(
            "appliance_stripe_webhooks", "Webhooks of Stripe, by the answer: 400 is not signed by it.",
            ["status"], registry=registry,
        )  # fmt: skip

    def observe_refusal(self, reason: str) -> None:
        """At the door, before anything of a request is known."""
        self._refused.labels(reason).inc()

    def observe(self, status: int, seconds: float) -> None:
        self._seconds.labels(str(status)).observe(seconds)
