"""The product on a host, as its operator and its customers see it there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from appliance.settings import CONFIGS
from tests.hosts.host import Host
from tests.hosts.network import inside

API = "http://127.0.0.1:8000"
CUSTOMERS = 8
QUESTION = {
    "model": "smollm2", "temperature": 0, "max_tokens": 16,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}  # fmt: skip
READY_SECONDS = 300


def models(replicas: int = 1) -> list[dict[str, Any]]:
    """The sample model alone."""
    sample: dict[str, Any] = yaml.safe_load((CONFIGS / "models.yaml").read_text())["models"][0]
    return [{**sample, "replicas": replicas}]


def in_network_of(host: Host) -> list[str]:
    """Before a program of this machine that is to run in the network of the host, whose loopback it reaches."""
    return inside(f"{host.network.bridge}-{host.name}")


def serving(host: Host) -> str:
    """The release that counts."""
    return host.run("readlink", "/opt/appliance/current").strip().rpartition("/")[2]


def asked(host: Host, *arguments: str, seconds: float = 120) -> Any:
    """What a command of the product on the host prints as JSON."""
    return json.loads(host.run("appliance", *arguments, "--json", seconds=seconds))


def customer(host: Host, name: str) -> str:
    """A new account with credit; its key."""
    host.run("appliance", "account", "create", name)
    host.run("appliance", "credit", "grant", name, "50")
    return str(asked(host, "key", "create", name)["key"])


def curl(host: Host, *arguments: str, seconds: float = 60) -> str:
    return subprocess.run(
        [*in_network_of(host), "curl", "--silent", "--show-error", "--max-time", str(seconds), *arguments],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip


def status(host: Host, url: str) -> int:
    return int(curl(host, "--output", "/dev/null", "--write-out", "%{http_code}", url, seconds=5) or 0)


def wait(host: Host, what: str, is_so: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    """As the host's own, but it looks once a second: on two cores, looking slows down what is waited for."""

    def look() -> bool:
        time.sleep(1)
        return is_so()

    host.wait(what, look, seconds)


def asking(key: str, **more: object) -> list[str]:
    """Of curl: a question whose answer is known."""
    return [*headers(key), "--data", json.dumps({**QUESTION, **more})]


def headers(key: str) -> list[str]:
    """Of curl: who asks, and that it is JSON."""
    return ["--header", f"authorization: Bearer {key}", "--header", "content-type: application/json"]


def is_right(said: str) -> bool:
    """Whether it is the answer to `asking`."""
    try:
        return "Paris" in json.loads(said)["choices"][0]["message"]["content"]
    except (ValueError, KeyError):
        return False


def answers(host: Host, key: str) -> bool:
    """By the host's own gateway."""
    return is_right(curl(host, f"{API}/v1/chat/completions", *asking(key)))


class Load:
    """Customers who ask without a pause. ``report`` is what they have seen, once it is over."""

    def __init__(self) -> None:
        self.report: dict[str, Any] = {}


@contextmanager
def load(where: Sequence[str], key: str, url: str = API, *names: str) -> Iterator[Load]:
    """Ends the customers with the block, each with the answer that it waits for.

    ``where`` are the words before a program of their network, ``names`` are how ``url`` is reached there.
    """
    seen = Load()
    process = subprocess.Popen(
        [*where, sys.executable, "-m", "tests.hosts.load", url, key, str(CUSTOMERS), *names],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip
    try:
        yield seen
        said, _ = process.communicate(timeout=180)
        seen.report = json.loads(said)
    finally:
        process.kill()
        process.wait()


def books_agree(host: Host, account: str, usage: dict[str, list[int]], broken_off: int = 0) -> None:
    """Each answer is charged once and as it said, nothing is held, and every rule of the books holds.

    Of as many answers as were ``broken_off`` there may be charges besides: for what was written.
    """
    host.wait("nothing is held", lambda: not any(one["open_holds"] for one in asked(host, "account", "list")), 60)
    rows = asked(host, "usage", "list", "--limit", "10000", "--account", account)
    charged = {row["request_id"]: [row["prompt_tokens"], row["completion_tokens"]] for row in rows}
    assert len(rows) == len(charged)
    assert {one: charged.get(one) for one in usage} == usage
    assert len(charged) - len(usage) <= broken_off
    host.run("appliance", "ledger", "verify")
