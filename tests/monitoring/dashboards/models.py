"""What each model's engines do."""

from tests.monitoring.dashboards.drawing import Choice, Dashboard, Graph

OF = 'model=~"$model"'


def quantile(metric: str) -> str:
    return f"histogram_quantile(0.95, sum by (model, le) (rate({metric}_bucket{{{OF}}}[$__rate_interval])))"


def per_second(metric: str, by: str = "model") -> str:
    return f"sum by ({by}) (rate({metric}{{{OF}}}[$__rate_interval]))"


MODELS = Dashboard(
    "models",
    "Models",
    "Replicas, queues, caches and tokens of each model; Ray; partners.",
    [
        (
            "Replicas and load",
            [
                Graph(
                    "Replicas that take requests, and how many are wanted",
                    "none",
                    [
                        (f"max by (model) (appliance_model_replicas{{{OF}}})", "{{model}}"),
                        (f"max by (model) (appliance_model_replicas_wanted{{{OF}}})", "{{model}}, wanted"),
                    ],
                ),
                Graph("Requests that are answered", "none", [(f"engine:running:sum{{{OF}}}", "{{model}}")]),
                Graph("Requests that wait", "none", [(f"engine:waiting:sum{{{OF}}}", "{{model}}")]),
                Graph(
                    "Time in the engine's queue, 95 %",
                    "s",
                    [(f"engine:queue_seconds:p95_5m{{{OF}}}", "{{model}}")],
                ),
                Graph(
                    "Running by replica",
                    "none",
                    [(f"vllm:num_requests_running{{{OF}}}", "{{model}} {{instance}}")],
                ),
                Graph(
                    "How requests ended",
                    "reqps",
                    [(per_second("vllm:request_success_total", "finished_reason"), "{{finished_reason}}")],
                ),
            ],
        ),
        (
            "Tokens",
            [
                Graph("Tokens of prompts", "short", [(f"engine:prompt_tokens:rate5m{{{OF}}}", "{{model}}")]),
                Graph("Tokens of answers", "short", [(f"engine:generation_tokens:rate5m{{{OF}}}", "{{model}}")]),
                Graph(
                    "Tokens charged",
                    "short",
                    [(f"model:tokens:rate5m{{{OF}}}", "{{model}} {{kind}}")],
                    stacked=True,
                ),
                Graph("Length of prompts, 95 %", "short", [(quantile("vllm:request_prompt_tokens"), "{{model}}")]),
                Graph(
                    "Length of answers, 95 %", "short", [(quantile("vllm:request_generation_tokens"), "{{model}}")]
                ),
                Graph(
                    "Pictures and seconds of sound charged",
                    "short",
                    [
                        (per_second("appliance_images_total"), "{{model}}, pictures"),
                        (per_second("appliance_audio_seconds_total"), "{{model}}, seconds"),
                    ],
                ),
            ],
        ),
        (
            "Cache and time in the engine",
            [
                Graph(
                    "KV cache in use", "percentunit", [(f"engine:cache_usage:max{{{OF}}}", "{{model}}")], most=1
                ),
                Graph(
                    "Prompts found in the prefix cache",
                    "percentunit",
                    [(f"engine:prefix_hits:ratio_rate5m{{{OF}}}", "{{model}}")],
                    most=1,
                ),
                Graph("Preemptions a second", "short", [(f"engine:preemptions:rate5m{{{OF}}}", "{{model}}")]),
                Graph("Prefill, 95 %", "s", [(quantile("vllm:request_prefill_time_seconds"), "{{model}}")]),
                Graph("Decode, 95 %", "s", [(quantile("vllm:request_decode_time_seconds"), "{{model}}")]),
                Graph("Between tokens, 95 %", "s", [(quantile("vllm:inter_token_latency_seconds"), "{{model}}")]),
            ],
        ),
        (
            "Ray",
            [
                Graph(
                    "Replicas that Ray holds healthy",
                    "none",
                    [("sum by (application) (ray_serve_deployment_replica_healthy)", "{{application}}")],
                ),
                Graph(
                    "Replicas of the last hour, those that are gone among them",
                    "none",
                    [('count by (model) (last_over_time(up{job="engine"}[1h]))', "{{model}}")],
                ),
                Graph(
                    "Memory of Ray's processes",
                    "bytes",
                    [("sum by (Component) (ray_component_rss_bytes)", "{{Component}}")],
                    stacked=True,
                ),
            ],
        ),
        (
            "Partners",
            [
                Graph(
                    "Requests by outcome",
                    "reqps",
                    [(per_second("appliance_partner_requests_total", "model, outcome"), "{{model}} {{outcome}}")],
                ),
                Graph(
                    "Time to the answer's end, 95 %", "s", [(quantile("appliance_partner_seconds"), "{{model}}")]
                ),
                Graph(
                    "Left alone", "none", [(f"appliance_partner_paused{{{OF}}}", "{{model}} {{instance}}")], most=1
                ),
            ],
        ),
    ],
    [Choice("model", "Model", "appliance_model_replicas", "model")],
)
