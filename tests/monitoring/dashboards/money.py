"""Do the books balance, and does money come in?"""

from tests.monitoring.dashboards.drawing import Dashboard, Graph, Number

MONEY = Dashboard(
    "money",
    "Money",
    "The books, reconciliation, Stripe, mail and the jobs that do it. Amounts are in the console.",
    [
        (
            "All of these should be 0",
            [
                Number("Rows that break a rule", "none", "max(appliance_ledger_discrepancies)", alarm=1),
                Number("Broken seals", "none", "max(appliance_seals_broken)", alarm=1),
                Number("Metered is not charged", "none", "max(appliance_reconciliation_differences)", alarm=1),
                Number("Takings differ", "none", "max(appliance_takings_differences)", alarm=1),
                Number("Events of Stripe failed", "none", "max(appliance_stripe_events_failed)", alarm=1),
                Number("Refunds that wait for you", "none", "max(appliance_refunds_failed)", alarm=1),
                Number("Receipts without a rate", "none", "max(appliance_documents_waiting)", warn=1),
                Number("Deletions that wait", "none", "max(appliance_deletions_waiting)", warn=1),
            ],
        ),
        (
            "Checks",
            [
                Graph(
                    "Since the books were checked",
                    "s",
                    [("time() - max by (scope) (appliance_ledger_checked_timestamp_seconds)", "{{scope}}")],
                ),
                Graph(
                    "Since the last day that was reconciled",
                    "s",
                    [
                        ("time() - max(appliance_reconciled_until_timestamp_seconds > 0)", "meters and charges"),
                        ("time() - max(appliance_takings_compared_until_timestamp_seconds > 0)", "takings"),
                    ],
                ),
                Graph("How late jobs are", "s", [("job:late_seconds > 0", "{{task}}")]),
            ],
        ),
        (
            "Usage",
            [
                Graph(
                    "Tokens charged within a day",
                    "short",
                    [("money:tokens:increase1d", "{{model}} {{kind}}")],
                    stacked=True,
                    width=16,
                ),
                Graph(
                    "Requests settled by the worker in an hour",
                    "none",
                    [("sum(increase(appliance_holds_recovered_total[1h]))", "requests")],
                ),
            ],
        ),
        (
            "Stripe",
            [
                Graph(
                    "Events that wait",
                    "none",
                    [
                        ("max(appliance_stripe_events_waiting)", "waiting"),
                        ("max(appliance_stripe_events_failed)", "tried in vain"),
                    ],
                ),
                Graph("The oldest of them", "s", [("max(appliance_stripe_events_oldest_seconds)", "seconds")]),
                Graph(
                    "In an hour",
                    "none",
                    [
                        (
                            "sum(increase(appliance_stripe_events_swept_total[1h]))",
                            "events that no webhook brought",
                        ),
                        ("sum(increase(appliance_stripe_unreachable_total[1h]))", "calls in vain"),
                        ("sum(increase(appliance_top_ups_total[1h]))", "saved cards charged"),
                    ],
                ),
                Graph(
                    "Webhooks by answer in an hour",
                    "none",
                    [("sum by (status) (increase(appliance_stripe_webhooks_total[1h]))", "{{status}}")],
                ),
                Graph("Mails that wait", "none", [("max(appliance_mails_waiting)", "mails")]),
                Graph("The oldest of them", "s", [("max(appliance_mails_oldest_seconds)", "seconds")]),
            ],
        ),
    ],
)
