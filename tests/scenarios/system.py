"""A system as its operator runs it: `appliance up` with a home and a port of its own."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import aiohttp
import psutil
import yaml

from tests.record import Ordeal, record

APPLIANCE = [sys.executable, "-m", "appliance"]
START_SECONDS = 240
STOP_SECONDS = 60


@dataclass
class System:
    home: Path
    port: int
    process: subprocess.Popen[bytes]
    screen: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"APPLIANCE_HOME": str(self.home), "PORT": str(self.port)}

    def demo(self) -> dict[str, str]:
        """What demo.env says, for an OpenAI client."""
        lines = (self.home / "demo.env").read_text().split()
        return dict(line.split("=", 1) for line in lines)

    def appliance(
        self, *arguments: str, check: bool = True, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*APPLIANCE, *arguments], env={**self.env, **(env or {})}, capture_output=True, text=True, check=False,
            timeout=timeout,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def ask(self, *arguments: str) -> Any:
        """A command's JSON."""
        return json.loads(self.appliance(*arguments, "--json").stdout)

    def customer(self, dollars: str, name: str) -> str:
        """A new account with credit; its key."""
        self.appliance("account", "create", name)
        self.appliance("credit", "grant", name, dollars)
        return str(self.ask("key", "create", name)["key"])

    def usage(self, account: str) -> dict[str, dict[str, Any]]:
        """The account's usage rows by request id."""
        rows = self.ask("usage", "list", "--limit", "10000", "--account", account)
        return {row["request_id"]: row for row in rows}

    def meters(self) -> dict[str, dict[str, Any]]:
        """What the replicas' journals say, by request id."""
        lines = [line for file in self.home.glob("meters/*/*.jsonl") for line in file.read_text().split()]
        return {meter["request_id"]: meter for meter in map(json.loads, lines)}

    def is_ready(self) -> bool:
        """Whether every model answers."""
        try:
            with urlopen(self.url + "/readyz", timeout=3) as response:
                return all(json.load(response)["models"].values())
        except (URLError, OSError):
            return False

    def wait_until_ready(self, seconds: float = START_SECONDS) -> float:
        """How long it took. Raises AssertionError with the screen if it takes longer."""
        started = time.monotonic()
        while not self.is_ready():
            assert self.process.poll() is None, f"it ended:\n{self.screen.read_text()}"
            assert time.monotonic() - started < seconds, f"not ready:\n{self.screen.read_text()}"
            time.sleep(0.2)
        return time.monotonic() - started

    def wait_until_no_holds(self, seconds: float) -> float:
        started = time.monotonic()
        while held := [account for account in self.ask("account", "list") if account["open_holds"]]:
            assert time.monotonic() - started < seconds, f"holds are left: {held}"
            time.sleep(0.5)
        return time.monotonic() - started

    def processes(self, part: str) -> list[psutil.Process]:
        """The processes of a part, its main process first."""
        record = json.loads((self.home / "run/parts.json").read_text())["processes"]
        found = []
        for pid, _, name in record:
            with suppress(psutil.NoSuchProcess):  # it ends at this moment
                process = psutil.Process(pid)
                if name == part and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((process.create_time(), process))
        return [process for _, process in sorted(found, key=itemgetter(0))]

    def replicas(self, model: str) -> list[psutil.Process]:
        """The actors that hold the model's engines, the newest last."""
        found = []
        for process in self.processes("ray"):
            with suppress(psutil.NoSuchProcess):
                if f"ServeReplica:{model}" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill(self, part: str) -> None:
        """`kill -9` of a part's main process; "replica" is the actor that holds the engine of smollm2."""
        if part == "replica":
            (victim,) = self.replicas("smollm2")
        else:
            victim = self.processes(part)[0]
        victim.kill()
        record(Ordeal.KILLS)


@contextmanager
def running(
    home: Path, port: int, settings: Mapping[str, str] | None = None, command: Sequence[str] = ("up",)
) -> Iterator[System]:
    """`appliance up`, or `join`, until the block ends; then SIGTERM, after which nothing may be left."""
    home.mkdir(parents=True, exist_ok=True)
    screen = home / "screen.txt"
    env = {**os.environ, "APPLIANCE_HOME": str(home), "PORT": str(port), "SITE_PORT": "0", **(settings or {})}
    with screen.open("wb") as output:
        process = subprocess.Popen(
            [*APPLIANCE, *command], env=env, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        yield System(home, port, process, screen)
    finally:
        descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
        _, alive = psutil.wait_procs(descendants, timeout=5)
        assert alive == [], f"left over: {alive}\n{screen.read_text()}"


@dataclass
class Answer:
    """What one client saw. ``usage`` only if it read its answer to the end; it has begun with its first event.

    ``arrivals`` has a time of ``time.monotonic()`` for each token, if it asked for ``return_token_ids``.
    """

    request_id: str | None
    status: int | None
    text: str
    usage: dict[str, Any] | None
    finished: bool
    has_begun: bool = False
    arrivals: list[float] = field(default_factory=list)


async def stream(
    http: aiohttp.ClientSession, url: str, key: str, body: dict[str, Any], *, hang_up_after: int | None = None
) -> Answer:
    """One streamed chat completion, hung up after so many chunks. A broken connection is an unfinished answer."""
    document = {"stream": True, "stream_options": {"include_usage": True}} | body
    headers = {"authorization": f"Bearer {key}"}
    answer = Answer(None, None, "", None, finished=False)
    try:
        async with http.post(url + "/v1/chat/completions", json=document, headers=headers) as response:
            answer.request_id, answer.status = response.headers.get("x-request-id"), response.status
            chunks = 0
            async for line in response.content:
                if line.startswith(b"data: [DONE]"):
                    answer.finished = True
                elif line.startswith(b"data: "):
                    chunks += 1
                    answer.has_begun = True
                    event = json.loads(line.removeprefix(b"data: "))
                    answer.usage = event.get("usage") or answer.usage
                    for choice in event.get("choices", ()):
                        answer.text += choice["delta"].get("content") or ""
                        answer.arrivals += [time.monotonic()] * len(choice.get("token_ids") or ())
                    if chunks == hang_up_after:
                        return answer
    except (aiohttp.ClientError, OSError):
        answer.finished = False
    return answer


@dataclass(frozen=True)
class FirstToken:
    """``seconds`` from the request to the first token."""

    seconds: float
    prompt_tokens: int
    cached_tokens: int


async def first_token(
    http: aiohttp.ClientSession, system: System, key: str, text: str, max_tokens: int = 1
) -> FirstToken:
    """One text completion, streamed and read to its end."""
    body: dict[str, Any] = {
        "model": "smollm2", "prompt": text, "max_tokens": max_tokens, "stream": True, "ignore_eos": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    headers = {"authorization": f"Bearer {key}"}
    began = time.perf_counter()
    seconds: float | None = None
    usage: dict[str, Any] = {}
    async with http.post(system.url + "/v1/completions", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if line.startswith(b"data: {"):
                seconds = seconds or time.perf_counter() - began
                usage = json.loads(line[6:]).get("usage") or usage
    assert seconds is not None
    return FirstToken(seconds, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"])


def prompt(rng: random.Random, words: int) -> str:
    """Nobody sent it before; about two tokens a word."""
    return " ".join(f"{rng.choice(('red', 'old', 'big'))} {rng.randint(0, 99)}" for _ in range(words // 2))


async def gather_limited(tasks: list[Any], at_once: int) -> list[Any]:
    """Results of the coroutines, so many at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(task: Any) -> Any:
        async with gate:
            return await task

    return await asyncio.gather(*(one(task) for task in tasks))


def write_models(home: Path, document: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a command that is to read these models."""
    file = home / "models.yaml"
    file.write_text(yaml.safe_dump(document))
    return {"APPLIANCE_MODELS": str(file)}


def books_balance(system: System) -> None:
    system.wait_until_no_holds(30)
    system.appliance("ledger", "verify")
    system.appliance("reconcile", "--day", f"{datetime.now(UTC):%Y-%m-%d}")
