"""What strangers can do at the doors for people: passwords tried by the thousand, and what the forms tell.

A hundred wrong passwords a second, each from another network, first on one account and then on a thousand.
Meanwhile an owner signs in, in a browser that the account knows; somebody else does in one that is new; and a
customer goes on reading pages.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from appliance import secrets
from appliance.identity import sessions
from appliance.identity.origin import Origin
from appliance.identity.passwords import Passwords
from appliance.settings import Settings, load_settings
from appliance.web.legal import read_legal_texts
from billing.clock import system_clock
from billing.customers.accounts import find_account
from billing.database.db import Database, execute
from billing.database.migrations import upgrade
from serving.catalog.declared import declare
from tests.appliance.postgres_server import running_cluster
from tests.bench import enumeration
from tests.bench.child import running_child
from tests.bench.enumeration import PASSWORD, make_people
from tests.bench.report import percentile, show_progress
from tests.ports import free_port

A_SECOND, SECONDS, ROUNDS, VICTIMS = 100, 20.0, 2, 1_000
PAUSE_SECONDS, OWNER_EVERY_SECONDS, AGAIN_SECONDS = 0.05, 2.5, 2.0
TIMEOUT = aiohttp.ClientTimeout(total=120)
CONFIG = "gateway: {trusted_proxies: [127.0.0.1/32]}\n"
OWN = {"sec-fetch-site": "same-origin", "user-agent": "Firefox on Linux"}
MEANING = {"401": "checked, answered 401", "429": "refused, answered 429"}
QUIET, ONE, MANY = "quiet", "one account", "1,000 accounts"
OWNER, OTHER, READER = "owner", "other", "reader"
_ACCEPTED = "INSERT INTO acceptance SELECT account_id, $1, now(), '192.0.2.1' FROM person"


@dataclass
class Seen:
    """Milliseconds of pages, of the owner's sign-ins; seconds until somebody else is in; bytes of memory more."""

    pages: dict[str, list[float]] = field(default_factory=lambda: {"/": [], "/dashboard": []})
    owner: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    tried_in_seconds: float = 0
    memory: int = 0


def measure() -> dict[str, float | int | str]:
    return _sign_ins() | enumeration.measure()


def _sign_ins() -> dict[str, float | int | str]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(running_cluster())
        (home / "appliance.yaml").write_text(CONFIG)
        env = os.environ | {
            "APPLIANCE_HOME": str(home), "APPLIANCE_CONFIG": str(home / "appliance.yaml"),
            "DATABASE_URL": cluster.url(), "PORT": str(free_port()), "SITE_PORT": str(free_port()),
        }  # fmt: skip
        settings = load_settings(env)
        secrets.create(settings.secrets)
        settings.run.mkdir()
        declare(settings.declared, settings.models)
        cookie = asyncio.run(_prepare(settings))
        url = f"http://127.0.0.1:{settings.site_port}"
        with (home / "log").open("w") as log:
            site = running_child([sys.executable, "-m", "appliance", "site"], env, f"{url}/livez", stderr=log)
            return asyncio.run(_in_rounds(url, stack.enter_context(site), cookie))


async def _prepare(settings: Settings) -> str:
    """The reader's session."""
    await upgrade(settings.sqlalchemy_url)
    names = [f"{name}-{number}" for name in (OWNER, OTHER) for number in range(3 * ROUNDS)]
    names += [READER, *(f"victim-{number}" for number in range(ROUNDS * VICTIMS))]
    await make_people(settings, [_email(name) for name in names], await Passwords().hash(PASSWORD))
    database = Database(settings.sqlalchemy_url)
    async with database.begin() as connection:
        await execute(connection, _ACCEPTED, read_legal_texts(settings).terms.version)
        reader = await find_account(connection, _email(READER))
        assert reader is not None
        origin = Origin("192.0.2.1", "Firefox")
        cookie = await sessions.begin(connection, reader.id, "customer", origin, system_clock())
    await database.close()
    return cookie


def _email(name: str) -> str:
    return f"{name}@example.com"


async def _in_rounds(url: str, site: psutil.Process, cookie: str) -> dict[str, float | int | str]:
    """Rounds of a quiet time and each attack: a minute in which the machine is slow weighs on all alike."""
    seen = {name: Seen() for name in (QUIET, ONE, MANY)}
    people = iter(range(3 * ROUNDS))
    async with aiohttp.ClientSession(url, headers={"cookie": f"__Host-session={cookie}"}) as reader:
        await _read(reader, Seen(), time.monotonic() + 2)
        at_first = site.memory_info().rss
        for number in range(ROUNDS):
            victims = [_email(f"victim-{VICTIMS * number + one}") for one in range(VICTIMS)]
            for name, whom in ((QUIET, None), (ONE, None), (MANY, victims)):
                show_progress(f"{name}, round {number + 1} of {ROUNDS}")
                person = next(people)
                await _during(name, url, site, reader, person, whom or [_email(f"{OWNER}-{person}")], seen[name])
    figures: dict[str, float | int | str] = {}
    for name, one in seen.items():
        figures |= _figures(name, one, seen[QUIET])
    figures["after all of it: memory, MiB more"] = (site.memory_info().rss - at_first) / (1 << 20)
    return figures


def _figures(name: str, seen: Seen, quiet: Seen) -> dict[str, float | int | str]:
    figures: dict[str, float | int | str] = {}
    if name != QUIET:
        tries = sum(seen.statuses.values())
        figures |= {f"{name}: tries": tries, f"{name}: tries a second": tries / seen.tried_in_seconds}
        figures |= {f"{name}: {MEANING[status]}": count for status, count in sorted(seen.statuses.items())}
    figures |= {
        f"{name}: the owner is in, ms p50": percentile(seen.owner, 0.5),
        f"{name}: the owner is in, ms at most": max(seen.owner),
        f"{name}: somebody in a new browser is in, seconds": max(seen.other),
        f"{name}: memory, MiB more at most": seen.memory / (1 << 20),
    }
    for path, times in seen.pages.items():
        figures[f"{name}: {path} ms p50"] = percentile(times, 0.5)
        figures[f"{name}: {path} ms p99"] = percentile(times, 0.99)
        if name != QUIET:
            figures[f"{name}: {path} p50, times quiet"] = percentile(times, 0.5) / percentile(
                quiet.pages[path], 0.5
            )
    return figures


async def _during(
    name: str,
    url: str,
    site: psutil.Process,
    reader: aiohttp.ClientSession,
    person: int,
    whom: Sequence[str],
    seen: Seen,
) -> None:
    owner = _browser(url, "198.51.100.1")
    await _enter(owner, OWNER, person)
    before = site.memory_info().rss
    attack = None if name == QUIET else _attacker(url, whom)
    until = time.monotonic() + SECONDS
    watching = asyncio.create_task(_watch(site, before, seen))
    await asyncio.gather(_read(reader, seen, until), _owner(owner, person, seen, until), _other(url, person, seen))
    watching.cancel()
    await owner.close()
    if attack is not None:
        told, _ = await asyncio.to_thread(attack.communicate)
        if attack.returncode:
            raise RuntimeError(f"the attack on {name} failed")
        found = json.loads(told)
        seen.statuses += Counter(found["statuses"])
        seen.tried_in_seconds += found["seconds"]


def _browser(url: str, address: str) -> aiohttp.ClientSession:
    """It keeps cookies, as a browser does those of localhost without TLS."""
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=url)
    headers = {**OWN, "x-forwarded-for": address}
    return aiohttp.ClientSession(url, headers=headers, cookie_jar=jar, timeout=TIMEOUT)


async def _enter(browser: aiohttp.ClientSession, who: str, person: int) -> int:
    """The status of the answer: 303 lets in."""
    form = {"email": _email(f"{who}-{person}"), "password": PASSWORD}
    async with browser.post("/sign-in", data=form, allow_redirects=False) as answer:
        await answer.read()
        return answer.status


async def _read(reader: aiohttp.ClientSession, seen: Seen, until: float) -> None:
    while time.monotonic() < until:
        for path, times in seen.pages.items():
            began = time.perf_counter()
            async with reader.get(path, allow_redirects=False) as answer:
                await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{path}: {answer.status}")
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PAUSE_SECONDS)


async def _owner(owner: aiohttp.ClientSession, person: int, seen: Seen, until: float) -> None:
    """Signs in again and again. Raises RuntimeError if that is refused."""
    while time.monotonic() < until:
        await asyncio.sleep(OWNER_EVERY_SECONDS)
        began = time.perf_counter()
        status = await _enter(owner, OWNER, person)
        if status != 303:
            raise RuntimeError(f"the owner was answered with {status}")
        seen.owner.append((time.perf_counter() - began) * 1000)


async def _other(url: str, person: int, seen: Seen) -> None:
    """Somebody whom nobody attacks, in a browser that is new, and who tries again when that is asked for."""
    await asyncio.sleep(SECONDS / 3)
    began = time.monotonic()
    async with _browser(url, "203.0.113.1") as browser:
        while (status := await _enter(browser, OTHER, person)) != 303:
            if status != 429:
                raise RuntimeError(f"somebody else was answered with {status}")
            await asyncio.sleep(AGAIN_SECONDS)
    seen.other.append(time.monotonic() - began)


async def _watch(site: psutil.Process, before: int, seen: Seen) -> None:
    while True:
        seen.memory = max(seen.memory, site.memory_info().rss - before)
        await asyncio.sleep(0.05)


def _attacker(url: str, whom: Sequence[str]) -> "subprocess.Popen[str]":
    """It has just begun. ``whom`` it tries, by their emails, one after the other."""
    attack = subprocess.Popen(
        [sys.executable, "-m", __name__, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert attack.stdin is not None
    assert attack.stdout is not None
    attack.stdin.write(json.dumps(whom) + "\n")
    attack.stdin.flush()
    attack.stdout.readline()
    return attack


async def _attack(url: str, whom: Sequence[str]) -> None:
    """So many tries a second, whether or not those before were answered."""
    statuses: Counter[str] = Counter()
    first = random.randrange(1 << 24)
    connector = aiohttp.TCPConnector(limit=0)

    async def one(number: int) -> None:
        network = (first + number * 7919) % (1 << 24)
        headers = {**OWN, "x-forwarded-for": f"{network >> 16}.{network >> 8 & 255}.{network & 255}.1"}
        form = {"email": whom[number % len(whom)], "password": f"wrong {number}"}
        async with http.post("/sign-in", data=form, headers=headers) as answer:
            await answer.read()
            statuses[str(answer.status)] += 1

    async with aiohttp.ClientSession(url, connector=connector, timeout=TIMEOUT) as http:
        began = time.monotonic()
        tries = []
        for number in range(int(A_SECOND * SECONDS)):
            await asyncio.sleep(began + number / A_SECOND - time.monotonic())
            tries.append(asyncio.create_task(one(number)))
        took = time.monotonic() - began
        await asyncio.gather(*tries)
    sys.stdout.write(json.dumps({"statuses": statuses, "seconds": took}))


if __name__ == "__main__":
    named = json.loads(sys.stdin.readline())
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    asyncio.run(_attack(sys.argv[1], named))
