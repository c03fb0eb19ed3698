"""512 tokens in, 128 out, so many at once: through the gateway, at the replica, and at bare vLLM, in turns."""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import urlopen

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from appliance import secrets
from serving.client.replicas import HEADER_COMPLETION_LIMIT, HEADER_REQUEST, HEADER_SECRET
from tests.gpu.report import Figures, Report
from tests.scenarios.system import System

PROMPT_TOKENS = 512
ANSWER_TOKENS = 128
AT_ONCE = {1: 8, 32: 64, 256: 512}
"""Clients, and the answers that they ask for together."""
MOST_ROUNDS = 5
VOCABULARY = range(1000, 40000)
OURS = ("appliance_admission_seconds", "appliance_settlement_seconds")


@dataclass(frozen=True)
class Target:
    """Where an answer is asked for, and with which headers; each request gets an id of its own if ``direct``."""

    url: str
    headers: Mapping[str, str]
    direct: bool = False


def targets(system: System, bare: str | None) -> dict[str, Target]:
    gateway = Target(system.url, {"authorization": f"Bearer {system.customer('10000', 'load')}"})
    secret = secrets.read(system.home / "secrets").cluster_secret
    document = json.loads((system.home / "run/directory.json").read_text())
    replica = Target(document["models"]["eight"]["replicas"][0]["endpoint"], {HEADER_SECRET: secret}, direct=True)
    found = {"gateway": gateway, "replica": replica}
    return found if bare is None else found | {"bare": Target(bare, {})}


def throughput(report: Report, system: System, bare: str | None, *, rehearse: bool) -> Figures:
    """Medians of the rounds, and each round; as many as there is time for, at least one."""
    ways = targets(system, bare)
    loads = {1: 2, 8: 16} if rehearse else AT_ONCE
    for target in ways.values():
        asyncio.run(measure(target, max(loads), max(loads)))
    rounds: dict[int, dict[str, list[Figures]]] = {at_once: {way: [] for way in ways} for at_once in loads}
    longest = 0.0
    for number in range(1 if rehearse else MOST_ROUNDS):
        if number and report.left_seconds < 1.2 * longest:
            break
        began = time.monotonic()
        for at_once, answers in loads.items():
            for way in sorted(ways, reverse=bool(number % 2)):
                before = waited(system)
                found = asyncio.run(measure(ways[way], answers, at_once))
                if way == "gateway":
                    found |= {name: 1000 * seconds for name, seconds in mean_since(before, waited(system)).items()}
                rounds[at_once][way].append(found)
        longest = max(longest, time.monotonic() - began)
        report.note("throughput so far", summary(rounds))
    report.figures.pop("throughput so far")
    return summary(rounds)


def summary(rounds: Mapping[int, Mapping[str, list[Figures]]]) -> Figures:
    def medians(each: list[Figures]) -> Figures:
        return {name: round(statistics.median(one[name] for one in each), 2) for name in each[0]}

    figures: Figures = {}
    for at_once, ways in rounds.items():
        if all(ways.values()):
            told = {way: medians(each) for way, each in ways.items()}
            ratios = {
                f"{name}, gateway to {way}": round(told["gateway"][name] / told[way][name], 3)
                for way in told if way != "gateway"
                for name in ("tokens_per_second", "ttft_ms_mean", "ttft_ms_p50")
            }  # fmt: skip
            figures[f"{at_once} at once"] = {**told, "ratios": ratios, "rounds": len(ways["gateway"])}
    return figures


async def measure(target: Target, answers: int, at_once: int) -> Figures:
    """Answers of exactly so many tokens to prompts that nobody sent before."""
    rng = random.Random()
    left = iter(range(answers))
    first: list[float] = []

    async def client(http: aiohttp.ClientSession) -> None:
        for _ in left:
            tokens = [rng.choice(VOCABULARY) for _ in range(PROMPT_TOKENS)]
            body = {
                "model": "eight", "prompt": tokens, "max_tokens": ANSWER_TOKENS, "ignore_eos": True,
                "stream": True,
            }  # fmt: skip
            own = {HEADER_REQUEST: str(uuid.uuid4()), HEADER_COMPLETION_LIMIT: str(ANSWER_TOKENS)}
            headers = {**target.headers, **(own if target.direct else {})}
            began = time.perf_counter()
            async with http.post(target.url + "/v1/completions", json=body, headers=headers) as response:
                assert response.status == 200, await response.text()
                await response.content.readany()
                first.append(1000 * (time.perf_counter() - began))
                assert b"[DONE]" in (await response.read())[-600:]

    timeout = aiohttp.ClientTimeout(total=1800)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        began = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(at_once)))
        seconds = time.perf_counter() - began
    first.sort()
    return {
        "tokens_per_second": answers * ANSWER_TOKENS / seconds,
        "ttft_ms_mean": statistics.fmean(first),
        "ttft_ms_p50": statistics.median(first),
        "ttft_ms_p99": first[math.ceil(0.99 * len(first)) - 1],
    }


def waited(system: System) -> dict[str, tuple[float, float]]:
    """Of our own steps: seconds in all, and how often."""
    with urlopen(system.url + "/metrics", timeout=10) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    values = {sample.name: sample.value for family in families for sample in family.samples if family.name in OURS}
    return {name: (values.get(f"{name}_sum", 0.0), values.get(f"{name}_count", 0.0)) for name in OURS}


def mean_since(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    means = {}
    for name, (seconds, count) in after.items():
        more = count - before[name][1]
        means[name.removeprefix("appliance_").replace("_seconds", "_ms_mean")] = (
            (seconds - before[name][0]) / more if more else 0.0
        )
    return means
