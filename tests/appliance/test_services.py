"""Parts as services: real processes, sockets as systemd passes them, and words as systemd hears them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from appliance import secrets
from appliance.settings import load_settings
from appliance.supervisor.instance import url_of
from appliance.supervisor.keeper import Part
from appliance.supervisor.service import part_of
from appliance.supervisor.services import Service
from appliance.supervisor.system import (
    base_environment,
    gateway_part,
    plan_ray,
    ray_part,
    site_part,
    worker_part,
)
from billing.clock import system_clock
from billing.customers.accounts import create_account
from billing.database.db import Database, execute
from tests.ports import free_port

PATIENCE_SECONDS = 60
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
STRIPE = {"STRIPE_API_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
# systemd gives the first socket number 3, and says in LISTEN_PID whom it means.
AS_SYSTEMD_STARTS = """
import os, sys
listener, *command = sys.argv[1:]
if listener != "none":
    os.dup2(int(listener), 3)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(command[0], command)
"""


class Home:
    """Of one node, prepared but for the database."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        for each in ("run/metrics", "logs"):
            (self.path / each).mkdir(parents=True)
        secrets.create(self.path / "secrets")
        (folder / "appliance.yaml").write_text(f"ray: {{port: {free_port()}}}\n")
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "APPLIANCE_HOME": str(self.path),
            "APPLIANCE_CONFIG": str(folder / "appliance.yaml"),
            "DATABASE_URL": NO_DATABASE,
            **STRIPE,
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


class Hearing:
    """What systemd hears of a service."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(PATIENCE_SECONDS)

    def wait_for(self, word: str) -> None:
        while self._socket.recv(4096).decode() != word:
            pass

    def heard(self) -> list[str]:
        """Everything that is waiting now."""
        words = []
        self._socket.setblocking(False)
        try:
            while True:
                words.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return words
        finally:
            self._socket.settimeout(PATIENCE_SECONDS)


@pytest.fixture
def systemd(tmp_path: Path) -> Hearing:
    return Hearing(tmp_path)


@contextmanager
def service(
    name: str, env: Mapping[str, str], systemd: Hearing, listener: socket.socket | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    fd = "none" if listener is None else str(listener.fileno())
    command = [sys.executable, "-c", AS_SYSTEMD_STARTS, fd, sys.executable, "-m", "appliance", "run", name]
    process = subprocess.Popen(
        command,
        env={**env, "NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "1000000"},
        pass_fds=() if listener is None else (listener.fileno(),),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        for child in children:
            child.kill()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener


def answer_of(url: str) -> bytes:
    with urllib.request.urlopen(f"{url}/livez", timeout=PATIENCE_SECONDS) as answer:
        body: bytes = answer.read()
        return body


def environment_of(process: subprocess.Popen[bytes]) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


@pytest.mark.parametrize("name", ["gateway", "site"])
def test_it_answers_on_the_socket_that_systemd_holds_and_says_when_it_does(
    home: Home, systemd: Hearing, listener: socket.socket, name: str
) -> None:
    with service(name, home.env, systemd, listener) as process:
        systemd.wait_for("READY=1")
        assert answer_of(url_of(listener))
        systemd.wait_for("WATCHDOG=1")
        assert ("STRIPE_API_KEY" in environment_of(process)) is (name == "site")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)
        assert systemd.heard()[-1] == "STOPPING=1"


def test_who_comes_while_a_gateway_starts_again_waits_and_is_answered(
    home: Home, systemd: Hearing, listener: socket.socket
) -> None:
    with service("gateway", home.env, systemd, listener) as first:
        systemd.wait_for("READY=1")
        first.kill()
        first.wait()
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE_SECONDS) as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with service("gateway", home.env, systemd, listener):
                assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_the_worker_says_when_it_works(home: Home, systemd: Hearing) -> None:
    with service("worker", home.env, systemd) as process:
        systemd.wait_for("READY=1")
        assert "STRIPE_API_KEY" in environment_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)


def test_ray_is_ready_when_it_takes_connections_and_knows_no_database_and_no_key(
    home: Home, systemd: Hearing
) -> None:
    directory = home.path / "run" / "directory.json"
    directory.write_text("{}")
    with service("ray", home.env, systemd) as process:
        systemd.wait_for("READY=1")
        socket.create_connection(("127.0.0.1", load_settings(home.env).ray.port)).close()
        assert not directory.exists(), "the replicas in it died with the Ray before"
        told = environment_of(process)
        assert "NOTIFY_SOCKET" not in told
        assert "DATABASE_URL" not in told
        assert told.keys().isdisjoint(STRIPE)


def test_a_service_is_the_part_that_up_starts(home: Home, listener: socket.socket) -> None:
    settings = load_settings(home.env)
    ray = plan_ray(settings)
    env = base_environment(home.env, settings, ray)
    parts: dict[Service, Part] = {
        Service.RAY: ray_part(settings, env, ray),
        Service.GATEWAY: gateway_part(settings, env, 0, [listener]),
        Service.SITE: site_part(settings, env, listener),
        Service.WORKER: worker_part(settings, env),
    }
    for name, part in parts.items():
        own = part_of(name, settings, {**home.env, "LISTEN_FDS": "1"}, ray, [listener])
        assert (own.command, own.env, own.pass_fds) == (part.command, part.env, part.pass_fds)


def refused(env: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", *arguments], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr


def test_what_is_missing_is_named(home: Home) -> None:
    assert "start it by its socket unit" in refused(home.env, "run", "gateway")
    without = {name: value for name, value in home.env.items() if name != "DATABASE_URL"}
    for command in (("run", "worker"), ("prepare",)):
        assert "services need a PostgreSQL of yours" in refused(without, *command)
    (home.path / "run" / "joined").write_text("10.0.0.1:6379\n")
    assert "only the first node has one" in refused(home.env, "run", "serving")
    (home.path / "run" / "joined").unlink()
    Path(home.env["APPLIANCE_CONFIG"]).write_text("")
    assert "ray.port" in refused(home.env, "run", "ray")


def test_settings_are_checked_before_they_are_used(home: Home) -> None:
    config = Path(home.env["APPLIANCE_CONFIG"])
    check = [sys.executable, "-m", "appliance", "settings", "check"]
    subprocess.run(check, env=home.env, check=True, stdout=subprocess.PIPE)
    config.write_text("gateway: {procesess: 2}\n")
    assert "procesess" in refused(home.env, "settings", "check")
    config.write_text("site: {terms_file: nowhere.md}\n")
    assert "nowhere.md" in refused(home.env, "settings", "check")


def test_a_node_is_prepared_once_and_again(home: Home, empty_url: str) -> None:
    env = {**home.env, "DATABASE_URL": empty_url}
    command = [sys.executable, "-m", "appliance", "prepare"]
    subprocess.run(command, env=env, check=True)
    pepper, demo = (home.path / "secrets" / "key_pepper").read_text(), (home.path / "demo.env").read_text()
    subprocess.run(command, env=env, check=True)
    assert (home.path / "secrets" / "key_pepper").read_text() == pepper
    assert (home.path / "demo.env").read_text() == demo
    assert (home.path / "run" / "models.json").exists()


PRACTISED = """
INSERT INTO payment (id, account_id, kind, state, value_nanodollars, net_cents, vat_cents, gross_cents,
    vat_code, vat_basis_points, buyer, created_at, checkout)
VALUES (gen_random_uuid(), $1, 'credit', 'open', 0, 0, 0, 0, '0', 0, '{}', now(), 'cs_test_1')
"""
SELLS = """
site: {address: 'https://llm.example.com', api_address: 'https://api.llm.example.com'}
seller: {name: Example AS, address: Street 1, postal_code: '0150', city: Oslo, number: '999999999'}
"""


@pytest.mark.parametrize("name", ["site", "worker"])
async def test_nothing_is_sold_for_real_in_a_database_in_which_somebody_practised(
    home: Home, fresh_url: str, name: str
) -> None:
    """The key may change without the release and the settings: nothing is prepared then."""
    database = Database(fresh_url)
    async with database.begin() as connection:
        account = await create_account(connection, "ada", "customer", system_clock)
        await execute(connection, PRACTISED, account.id)
    await database.close()
    with Path(home.env["APPLIANCE_CONFIG"]).open("a") as config:
        config.write(SELLS)
    env = {**home.env, "DATABASE_URL": fresh_url, "STRIPE_API_KEY": "sk_live_1"}
    assert "whose credit would become real" in refused(env, "run", name)


def test_a_further_node_is_prepared_with_the_first_nodes_secrets_alone(home: Home) -> None:
    subprocess.run(
        [sys.executable, "-m", "appliance", "prepare", "--first", "127.0.0.2:6379"], env=home.env, check=True
    )
    assert (home.path / "run" / "joined").read_text() == "127.0.0.2:6379\n"
    (home.path / "secrets" / "ray_token").unlink()
    (home.path / "secrets" / "key_pepper").unlink()
    assert "copy them from the first" in refused(home.env, "prepare", "--first", "127.0.0.2:6379")
    assert not (home.path / "secrets" / "key_pepper").exists(), "a secret of its own would open nothing"
