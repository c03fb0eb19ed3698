"""Three nodes on one machine, two with gateways: one is lost under load, and comes back."""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import psutil
import pytest
import yaml

from appliance.postgres import embedded_url
from appliance.settings import CONFIGS
from tests.conftest import Figure
from tests.ports import free_port
from tests.record import Ordeal, record
from tests.scenarios.conftest import PARTNERS_KEY, started
from tests.scenarios.system import Answer, System, books_balance, running, stream, write_models

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.nodes, pytest.mark.timeout(900)]

FIRST, ADDRESSES = "127.0.0.2", ("127.0.0.3", "127.0.0.4")
CLIENTS = 8
LAST_SECONDS = 60.0
"""An answer takes ten of them under this load, and a meter goes to the first node within one more."""
SHIPPED: dict[str, Any] = yaml.safe_load((CONFIGS / "models.yaml").read_text())


@dataclass
class Seen:
    """Answers of one gateway's clients: those that finished, that began and broke off, that never began."""

    finished: list[Answer] = field(default_factory=list)
    cut_off: int = 0
    failed: list[str] = field(default_factory=list)


def prepare(first: System, address: str, gateways: int, home: Path) -> None:
    """A further node's home, with the first one's secrets."""
    (home / "models").symlink_to((first.home / "models").resolve())
    shutil.copytree(first.home / "secrets", home / "secrets")
    document = {"ray": {"node_address": address}, "gateway": {"processes": gateways}}
    (home / "appliance.yaml").write_text(yaml.safe_dump(document))


def joined(first: System, home: Path) -> AbstractContextManager[System]:
    ray = yaml.safe_load((first.home / "appliance.yaml").read_text())["ray"]
    settings = {
        "APPLIANCE_CONFIG": str(home / "appliance.yaml"),
        "DATABASE_URL": embedded_url(first.home / "run" / "postgres"),
    }
    return running(home, free_port(), settings, ("join", f"{ray['node_address']}:{ray['port']}"))


def wait_for_replicas(system: System, count: int, seconds: float, model: str = "smollm2") -> set[str]:
    """The nodes that the model's replicas are on, once so many answer as this node knows."""
    started = time.monotonic()
    while True:
        try:
            found = json.loads((system.home / "run/directory.json").read_text())["models"][model]["replicas"]
        except (FileNotFoundError, KeyError):
            found = []
        if len(found) == count and not any(replica["draining"] for replica in found):
            return {replica["node"] for replica in found}
        assert time.monotonic() - started < seconds, f"{len(found)} replicas:\n{system.screen.read_text()}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def system(prepared_models: Path) -> Iterator[System]:
    """A first node that others can reach."""
    with started(prepared_models, node_address=FIRST) as system:
        yield system


@pytest.fixture(scope="module")
def nodes(system: System, partner: str) -> Iterator[list[System]]:
    """The first, one with a gateway, one without; each has a replica of the own model and one of the partner's."""
    document = deepcopy(SHIPPED)
    chat = document["models"][0]
    chat["replicas"] = 3
    chat["engine_args"]["max_num_seqs"] = (
        24  # another version: replicas that start together take turns on the nodes
    )
    document["models"].append(
        {
            "id": "big", "replicas": 3, "context_length": 4096,
            "partner": {
                "name": "Example AI", "url": f"{partner}/v1", "key": "EXAMPLE_KEY", "model": "partner/big-1",
            },
            "rates": {"input": "1", "cached_input": "0.1", "output": "2"},
        }
    )  # fmt: skip
    with ExitStack() as stack:
        homes = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="appliance-", ignore_cleanup_errors=True)))
            for _ in ADDRESSES
        ]
        for address, gateways, home in zip(ADDRESSES, (1, 0), homes, strict=True):
            prepare(system, address, gateways, home)
        others = [stack.enter_context(joined(system, home)) for home in homes]
        others[0].wait_until_ready()
        env = write_models(system.home, document) | {"EXAMPLE_KEY": PARTNERS_KEY}
        system.appliance("models", "apply", env=env, timeout=600)
        yield [system, *others]


async def load(
    system: System,
    key: str,
    seen: Seen,
    is_over: asyncio.Event,
    model: str = "smollm2",
    clients: int = CLIENTS // 2,
) -> None:
    async def client(http: aiohttp.ClientSession, number: int) -> None:
        while not is_over.is_set():
            body = {
                "model": model, "messages": [{"role": "user", "content": f"Say {number}."}],
                "max_tokens": 6, "ignore_eos": True,
            }  # fmt: skip
            answer = await stream(http, system.url, key, body)
            if answer.finished:
                seen.finished.append(answer)
            elif answer.text:
                seen.cut_off += 1
            else:
                seen.failed.append(f"{answer.status}")
                await asyncio.sleep(0.5)

    timeout = aiohttp.ClientTimeout(total=180)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(client(http, number) for number in range(clients)))


async def test_a_node_is_lost_under_load_and_service_goes_on(nodes: list[System], figure: Figure) -> None:
    first, second, _ = nodes
    where = wait_for_replicas(first, 3, 300)
    figure("three replicas of a model, on so many of three nodes", len(where))
    assert len(where) == 3
    assert wait_for_replicas(second, 3, 30) == where, "the second node's gateway knows them too"
    assert wait_for_replicas(second, 3, 60, "big") == where
    key = first.customer("50", "nodes")
    here, there, partners, over = Seen(), Seen(), Seen(), asyncio.Event()
    loading = [
        asyncio.create_task(load(system, key, seen, over)) for system, seen in ((first, here), (second, there))
    ] + [asyncio.create_task(load(first, key, partners, over, "big", 2))]
    await until(lambda: min(len(here.finished), len(there.finished)) >= CLIENTS, 120)
    assert not there.failed
    before, before_of_partner = len(here.finished), len(partners.finished)
    kill_all_of(second)
    killed_at, date_of_death = time.monotonic(), time.time()
    await asyncio.sleep(20)
    await until(lambda: len(here.finished) >= before + 2 * CLIENTS, 120)
    over.set()
    await asyncio.gather(*loading)
    figure("a node killed: answers of the other gateway since, failed, cut off",
           (len(here.finished) - before, len(here.failed), here.cut_off))  # fmt: skip
    figure("a node killed: answers of the partner since, failed, cut off",
           (len(partners.finished) - before_of_partner, len(partners.failed), partners.cut_off))  # fmt: skip
    assert here.failed == partners.failed == [], "what had not begun was answered by another replica"
    first.wait_until_no_holds(90)
    figure("a node killed: seconds until no hold was left (20 of load included)", time.monotonic() - killed_at)
    charged = first.usage("nodes")
    for answer in here.finished + there.finished + partners.finished:
        assert answer.request_id is not None
        assert answer.usage is not None
        row = charged[answer.request_id]
        assert (row["prompt_tokens"], row["completion_tokens"]) == (
            answer.usage["prompt_tokens"],
            answer.usage["completion_tokens"],
        )
    figure("a node killed: answers that either gateway's clients saw finish, all charged as their usage says",
           len(here.finished + there.finished + partners.finished))  # fmt: skip
    wait_for_replicas(first, 3, 300)
    lost = differences(first)
    figure("a node killed: charges of its last answers whose meters are on its disk alone", len(lost))
    assert all("charged, in no meter" in line for line in lost)
    assert all(date_of_death - LAST_SECONDS < admitted_at(line) < date_of_death for line in lost)
    first.appliance("ledger", "verify")
    with joined(first, second.home) as back:
        back.wait_until_ready()
        await until(lambda: not differences(first), 120)
        books_balance(first)


def differences(system: System) -> list[str]:
    """What reconciliation says of each request that differs."""
    done = system.appliance("reconcile", "--day", f"{datetime.now(UTC):%Y-%m-%d}", check=False)
    return [line for line in done.stdout.splitlines() if line.startswith("request ")]


def admitted_at(difference: str) -> float:
    """Unix time: a request's id is a UUID of version 7."""
    return (UUID(difference.split()[1]).int >> 80) / 1000


async def until(is_so: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.2)


def kill_all_of(system: System) -> None:
    """As if its machine had lost its power: nothing is told to anybody."""
    supervisor = psutil.Process(system.process.pid)
    for process in [supervisor, *supervisor.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it ended with its parent
            process.kill()
            record(Ordeal.KILLS)
