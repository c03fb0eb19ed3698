"""What Prometheus reads of the worker, by the files that it shares with the gateways."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge


class WorkerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.holds_open = Gauge(
            "appliance_holds_open", "Requests admitted and not resolved.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.holds_oldest_seconds = Gauge(
            "appliance_holds_oldest_seconds", "How long ago the oldest of them was admitted; 0 without any.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self._task_period = Gauge(
            "appliance_task_period_seconds", "How often a background job is to run.", ["task"],
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self._task_succeeded = Gauge(
            "appliance_task_succeeded_timestamp_seconds",
            "When a background job last came to its end, or its worker began (Unix time).", ["task"],
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.mails_waiting = Gauge(
            "appliance_mails_waiting", "Mails that are not sent yet.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.mails_oldest_seconds = Gauge(
            "appliance_mails_oldest_seconds", "How long the oldest of them has waited.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.stripe_unreachable = Counter(
            "appliance_stripe_unreachable", "Times that Stripe could not be asked, or refused.", registry=registry
        )
        self.ledger_discrepancies = Gauge(
            "appliance_ledger_discrepancies", "Rows that break a rule of the books at the last check.", ["scope"],
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.seals_broken = Gauge(
            "appliance_seals_broken", "Sealed days whose records are not what was sealed.", ["scope"],
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.ledger_checked_at = Gauge(
            "appliance_ledger_checked_timestamp_seconds", "When the books were last checked (Unix time).",
            ["scope"],
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.reconciliation_differences = Gauge(
            "appliance_reconciliation_differences",
            "Requests whose meter, charge and transfers differ, of the last day that was reconciled.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.takings_differences = Gauge(
            "appliance_takings_differences",
            "Where Stripe, payments, ledger and documents differ, of the last day whose takings were compared.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.takings_compared_until = Gauge(
            "appliance_takings_compared_until_timestamp_seconds",
            "The end of the last day whose takings were compared (Unix time).",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.reconciled_until = Gauge(
            "appliance_reconciled_until_timestamp_seconds", "The end of the last reconciled day (Unix time).",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.documents_waiting = Gauge(
            "appliance_documents_waiting", "Payments whose receipt waits for an exchange rate.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.deletions_waiting = Gauge(
            "appliance_deletions_waiting", "Accounts to be deleted whose chats could not be.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.holds_recovered = Counter(
            "appliance_holds_recovered", "Holds whose gateway was gone, settled by the worker.", registry=registry
        )
        self.stripe_events_waiting = Gauge(
            "appliance_stripe_events_waiting", "Events of Stripe that are not handled yet.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.stripe_events_failed = Gauge(
            "appliance_stripe_events_failed", "Those of them that were tried in vain.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.stripe_oldest_seconds = Gauge(
            "appliance_stripe_events_oldest_seconds", "How long ago the oldest of them happened.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self.stripe_events_swept = Counter(
            "appliance_stripe_events_swept", "Events that no webhook brought, found by asking.", registry=registry
        )
        self.top_ups = Counter("appliance_top_ups", "Cards that were charged by themselves.", registry=registry)
        self.refunds_failed = Gauge(
            "appliance_refunds_failed", "Refunds that wait for the operator.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip

    def task_begins(self, task: str, period_seconds: float, at: datetime) -> None:
        """The worker has it from now on."""
        self._task_period.labels(task).set(period_seconds)
        self.task_succeeded(task, at)

    def task_succeeded(self, task: str, at: datetime) -> None:
        self._task_succeeded.labels(task).set(at.timestamp())
