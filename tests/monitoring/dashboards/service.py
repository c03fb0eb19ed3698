"""Is the service well? The page to open first."""

from tests.monitoring.dashboards.drawing import Dashboard, Graph, Number

ALL = 'appliance_requests_total{endpoint!="other"}'

SERVICE = Dashboard(
    "service",
    "Service",
    "What customers see, and what is left of this month's errors.",
    [
        (
            "Now",
            [
                Number(
                    "Pages", "none", 'count(ALERTS{alertstate="firing",severity="page"}) or vector(0)', alarm=1
                ),
                Number(
                    "Tickets", "none", 'count(ALERTS{alertstate="firing",severity="ticket"}) or vector(0)', warn=1
                ),
                Number(
                    "Errors left this month",
                    "percentunit",
                    "service:error_budget:remaining30d",
                    0.5,
                    0.1,
                    low=True,
                ),
                Number("Late answers left", "percentunit", "service:late_budget:remaining30d", 0.5, 0.1, low=True),
                Number("Requests a second", "reqps", "service:requests:rate5m"),
                Number("Failing", "percentunit", "service:errors:ratio_rate5m", 0.005, 0.05),
            ],
        ),
        (
            "Requests",
            [
                Graph(
                    "By status",
                    "reqps",
                    [(f"sum by (status) (rate({ALL}[$__rate_interval]))", "{{status}}")],
                    stacked=True,
                    about="499: the client hung up. 502: the engine broke off.",
                ),
                Graph(
                    "By model",
                    "reqps",
                    [("model:requests:rate5m", "{{model}}")],
                    stacked=True,
                ),
                Graph(
                    "By endpoint",
                    "reqps",
                    [(f"sum by (endpoint) (rate({ALL}[$__rate_interval]))", "{{endpoint}}")],
                    stacked=True,
                ),
                Graph("Errors by model", "percentunit", [("model:errors:ratio_rate5m", "{{model}}")]),
                Graph(
                    "Errors, by how far one looks back",
                    "percentunit",
                    [
                        ("service:errors:ratio_rate5m", "5 minutes"),
                        ("service:errors:ratio_rate1h", "an hour"),
                        ("service:errors:ratio_rate6h", "6 hours"),
                        ("service:errors:ratio_rate3d", "3 days"),
                    ],
                    about="0.5 % are allowed.",
                ),
                Graph(
                    "First token after 5 s",
                    "percentunit",
                    [
                        ("service:late:ratio_rate5m", "5 minutes"),
                        ("service:late:ratio_rate1h", "an hour"),
                        ("service:late:ratio_rate6h", "6 hours"),
                        ("service:late:ratio_rate3d", "3 days"),
                    ],
                    about="5 % are allowed.",
                ),
            ],
        ),
        (
            "Time",
            [
                Graph("First token, median", "s", [("model:first_token_seconds:p50_5m", "{{model}}")]),
                Graph("First token, 95 %", "s", [("model:first_token_seconds:p95_5m", "{{model}}")]),
                Graph("First token, 99 %", "s", [("model:first_token_seconds:p99_5m", "{{model}}")]),
                Graph("Each further token, median", "s", [("model:output_token_seconds:p50_5m", "{{model}}")]),
                Graph("Each further token, 95 %", "s", [("model:output_token_seconds:p95_5m", "{{model}}")]),
                Graph("Whole answer, 95 %", "s", [("model:request_seconds:p95_5m", "{{model}}")]),
            ],
        ),
        (
            "From outside",
            [
                Graph("Answers over TLS", "none", [("probe_success", "{{endpoint}}")], most=1),
                Graph("Seconds until it answered", "s", [("probe_duration_seconds", "{{endpoint}}")]),
                Graph(
                    "Days until the certificate ends",
                    "d",
                    [("(probe_ssl_earliest_cert_expiry - time()) / 86400", "{{instance}}")],
                ),
            ],
        ),
    ],
)
