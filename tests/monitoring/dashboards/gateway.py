"""The door: connections, refusals, admission. No figure is of one tenant: those are in the console."""

from tests.monitoring.dashboards.drawing import Dashboard, Graph

REFUSED = 'appliance_requests_total{endpoint!="other",status=~"4..",status!="499"}'

GATEWAY = Dashboard(
    "gateway",
    "Gateway and tenants",
    "Who is let in, who is refused and why, and how long decisions take. What one tenant used is in the console.",
    [
        (
            "Tenants",
            [
                Graph(
                    "Refused, by status",
                    "reqps",
                    [(f"sum by (status) (rate({REFUSED}[$__rate_interval]))", "{{status}}")],
                    stacked=True,
                    about="401: the key. 402: no credit. 403: suspended. 404: no such model. 429: a limit.",
                ),
                Graph(
                    "Refused, by model",
                    "reqps",
                    [(f"sum by (model) (rate({REFUSED}[$__rate_interval]))", "{{model}}")],
                    stacked=True,
                ),
                Graph(
                    "Hung up before the end",
                    "reqps",
                    [
                        (
                            'sum by (model) (rate(appliance_requests_total{status="499"}[$__rate_interval]))',
                            "{{model}}",
                        )
                    ],
                ),
                Graph("Requests that are held for", "none", [("max(appliance_holds_open)", "open")]),
                Graph("Oldest hold", "s", [("max(appliance_holds_oldest_seconds)", "oldest")]),
                Graph(
                    "Not seen by the review in an hour",
                    "none",
                    [("sum(increase(appliance_sightings_dropped_total[1h]))", "requests")],
                ),
            ],
        ),
        (
            "Connections",
            [
                Graph("Open", "none", [("appliance_connections_open", "{{instance}}")]),
                Graph(
                    "Ended at the door",
                    "cps",
                    [
                        (
                            "sum by (reason) (rate(appliance_connections_refused_total[$__rate_interval]))",
                            "{{reason}}",
                        )
                    ],
                ),
                Graph(
                    "The event loop is late, 99 %",
                    "s",
                    [("gateway:event_loop_delay_seconds:p99_5m", "{{instance}}")],
                ),
            ],
        ),
        (
            "Admission and settlement",
            [
                Graph("Waiting for admission, 99 %", "s", [("gateway:admission_seconds:p99_5m", "{{instance}}")]),
                Graph(
                    "Waiting for the charge, 99 %", "s", [("gateway:settlement_seconds:p99_5m", "{{instance}}")]
                ),
                Graph(
                    "Requests in a transaction, mean",
                    "none",
                    [
                        (
                            """sum(rate(appliance_admission_batch_size_sum[5m]))
                            / (sum(rate(appliance_admission_batch_size_count[5m])) > 0)""",
                            "admitted",
                        ),
                        (
                            """sum(rate(appliance_settlement_batch_size_sum[5m]))
                            / (sum(rate(appliance_settlement_batch_size_count[5m])) > 0)""",
                            "settled",
                        ),
                    ],
                ),
            ],
        ),
        (
            "Caddy",
            [
                Graph(
                    "Answers by status",
                    "reqps",
                    [
                        (
                            "sum by (code) (rate(caddy_http_request_duration_seconds_count[$__rate_interval]))",
                            "{{code}}",
                        )
                    ],
                    stacked=True,
                ),
                Graph("Requests that run", "none", [("sum(caddy_http_requests_in_flight)", "requests")]),
                Graph(
                    "To whom it passes requests on",
                    "none",
                    [("min by (upstream) (caddy_reverse_proxy_upstreams_healthy)", "{{upstream}}")],
                    most=1,
                ),
            ],
        ),
        (
            "Site",
            [
                Graph(
                    "Pages by status",
                    "reqps",
                    [
                        (
                            "sum by (status) (rate(appliance_site_request_seconds_count[$__rate_interval]))",
                            "{{status}}",
                        )
                    ],
                    stacked=True,
                ),
                Graph("A page, 95 %", "s", [("site:request_seconds:p95_5m", "seconds")]),
                Graph(
                    "Connections of browsers, and those that ended at the door",
                    "none",
                    [
                        ("appliance_site_connections_open", "{{instance}} open"),
                        (
                            "sum by (reason) (increase(appliance_site_connections_refused_total[5m]))",
                            "{{reason}}",
                        ),
                    ],
                ),
            ],
        ),
    ],
)
