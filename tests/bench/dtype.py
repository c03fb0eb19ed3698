"""The sample model on processors, in float32 and in bfloat16: how fast it is, and how often it is right.

For each way of multiplying that oneDNN can be kept to (``ONEDNN_MAX_CPU_ISA``) as well; what a processor does
not have changes nothing.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from serving.client.replicas import HEADER_COMPLETION_LIMIT, HEADER_REQUEST, HEADER_SECRET
from serving.weights.prepare import prepare
from tests.serving.conftest import SECRET, SOURCE

DTYPES = ("float32", "bfloat16")
CPU_ISAS = ("DEFAULT", "AVX512_CORE", "AVX2")
ROUNDS = 3
ANSWER_TOKENS = 64
AT_ONCE = (1, 32)
START_SECONDS = 180
QUESTIONS = {
    "What is the capital of France?": "Paris", "What is the capital of Italy?": "Rome",
    "What is the capital of Japan?": "Tokyo", "What is the capital of Germany?": "Berlin",
    "What is the capital of Spain?": "Madrid", "What is the capital of Russia?": "Moscow",
    "What is the capital of Egypt?": "Cairo", "What is the capital of China?": "Beijing",
    "What is the capital of Greece?": "Athens", "What is the capital of Norway?": "Oslo",
    "What is the largest planet of the solar system?": "Jupiter", "Who wrote Hamlet?": "Shakespeare",
    "What is the chemical symbol of water?": "H2O", "Which planet is closest to the Sun?": "Mercury",
    "What is the largest ocean on Earth?": "Pacific", "Who painted the Mona Lisa?": "Leonardo",
    "What do bees make?": "honey", "How many days are in a week?": "7",
    "What is the opposite of hot?": "cold", "Which animal is known as the king of the jungle?": "lion",
}  # fmt: skip


def measure() -> Mapping[str, float | int | str]:
    figures: dict[str, float | int | str] = {"questions": len(QUESTIONS)}
    first: dict[str, Mapping[str, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        prepare(SOURCE, "smollm2", home / "models", lambda _: None)
        for isa in CPU_ISAS:
            for dtype in DTYPES:
                with _engine(home, dtype, isa) as (url, process):
                    texts, found = asyncio.run(_ask(url, speed=isa == "DEFAULT"))
                    family = [process, *process.children(recursive=True)]
                    found["resident_mib"] = sum(each.memory_info().rss for each in family) >> 20
                own = first.setdefault(dtype, texts)
                found["answers unlike DEFAULT's"] = sum(own[each] != texts[each] for each in QUESTIONS)
                figures |= {f"{dtype} {isa}: {what}": value for what, value in found.items()}
    return figures


@contextmanager
def _engine(home: Path, dtype: str, isa: str) -> Iterator[tuple[str, psutil.Process]]:
    arguments = {"max_num_seqs": 32, "dtype": dtype}
    rates = {"input": "0.10", "cached_input": "0.02", "output": "0.40"}
    entry = {
        "id": "smollm2", "source": SOURCE, "context_length": 2048, "gpus": 0, "rates": rates,
        "engine_args": arguments,
    }  # fmt: skip
    (home / "port").unlink(missing_ok=True)
    env = os.environ | {"APPLIANCE_HOME": str(home), "ONEDNN_MAX_CPU_ISA": isa}
    command = [sys.executable, "-m", "tests.serving.one_engine", str(home), json.dumps(entry)]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            began = time.monotonic()
            while not (home / "port").exists():
                if child.poll() is not None or time.monotonic() - began > START_SECONDS:
                    raise RuntimeError(f"the engine did not start in {dtype}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{(home / 'port').read_text()}", psutil.Process(child.pid)
        finally:
            child.kill()


async def _ask(url: str, *, speed: bool) -> tuple[dict[str, str], dict[str, float | int | str]]:
    """The answers, and the figures."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        texts = {question: await _answer(http, url, question) for question in QUESTIONS}
        right = [question for question, text in texts.items() if QUESTIONS[question].lower() in text.lower()]
        found: dict[str, float | int | str] = {"right answers": len(right)}
        found["to the first"] = next(iter(texts.values()))
        if speed:
            for at_once in AT_ONCE:
                rounds = [await _tokens_per_second(http, url, at_once) for _ in range(ROUNDS)]
                found[f"tokens/s, {at_once} at once"] = statistics.median(rounds)
    return texts, found


async def _answer(http: aiohttp.ClientSession, url: str, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    body = {"model": "smollm2", "messages": messages, "temperature": 0, "max_tokens": 24}
    answer = await _post(http, url + "/v1/chat/completions", body)
    return str(answer["choices"][0]["message"]["content"]).strip()


async def _tokens_per_second(http: aiohttp.ClientSession, url: str, at_once: int) -> float:
    body = {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": ANSWER_TOKENS, "ignore_eos": True}
    began = time.perf_counter()
    await asyncio.gather(*(_post(http, url + "/v1/completions", body) for _ in range(at_once)))
    return at_once * ANSWER_TOKENS / (time.perf_counter() - began)


async def _post(http: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    headers = {HEADER_SECRET: SECRET, HEADER_REQUEST: str(uuid.uuid4()), HEADER_COMPLETION_LIMIT: "64"}
    async with http.post(url, json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer}")
        return answer
