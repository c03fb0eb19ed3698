"""The product's services on a fresh host: converged, killed, rebooted, upgraded and brought back under load."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import chatting
from tests.hosts.host import Host
from tests.hosts.network import PROXY_PORT
from tests.hosts.product import (
    POSTGRESQL,
    SITE,
    answer,
    answers,
    asked,
    books_agree,
    curl,
    customer,
    load,
    models,
    status,
    wait,
    wait_until_ready,
)
from tests.hosts.releases import Control, Workshop, binds, install_environment, workshop

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1800)]

PLAYBOOK = "test.yml"
CHAT = "http://127.0.0.1:3080"
EXPOSURE_MOST = 2.0
"""What `systemd-analyze security` may say of a service; a service without a sandbox has 9.6."""
SERVICES = (
    "appliance-ray", "appliance-serving", "appliance-gateway@1", "appliance-gateway@2", "appliance-site",
    "appliance-worker",
)  # fmt: skip


def control_of(workshop: Workshop, host: Host) -> Control:
    workshop.playbook(
        PLAYBOOK,
        [{"name": "The database", "hosts": "nodes", "become": True, "tasks": POSTGRESQL},
         {"name": "The services", "hosts": "first:workers", "become": True, "roles": ["ray", "appliance"]}],
    )  # fmt: skip
    workshop.release("v1")
    mark_the_second_release(workshop)
    workshop.release("v2")
    variables = {
        "domain": "example.test", "operator_name": "Example AS", "operator_mail": "post@example.test",
        "gpu": False, "appliance_device": "cpu", "models": models(),
        "database_url": "postgresql://appliance@/appliance?host=/run/postgresql",
        "appliance_gateway_processes": 2, "appliance_install_environment": install_environment(host),
    }  # fmt: skip
    return Control(workshop, {"first": [host], "workers": [], "nodes": [host]}, variables)


def mark_the_second_release(workshop: Workshop) -> None:
    """Its gateways say so in a header, and its replicas are of another version."""
    headers = workshop.folder / "appliance" / "door" / "headers.py"
    before, found, after = headers.read_text().partition("NO_PAGE: Headers = (\n")
    assert found
    headers.write_text(f'{before}{found}    ("x-release", "v2"),\n{after}')
    with (workshop.folder / "serving" / "engine" / "__init__.py").open("a") as file:
        file.write("\nRELEASE = 2\n")


@pytest.fixture(scope="module")
def host(new_host: Callable[..., Host]) -> Host:
    return new_host("solo", *binds())


@pytest.fixture(scope="module")
def control(host: Host, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Control:
    made = workshop(repository, tmp_path_factory.mktemp("workshop") / "clone")
    control = control_of(made, host)
    control.converge(PLAYBOOK, "-e", "release=v1")
    wait_until_ready(host)
    return control


@pytest.fixture(scope="module")
def key(control: Control, host: Host) -> str:
    return customer(host, "acme")


def test_a_fresh_host_gives_a_paid_answer_after_one_run(control: Control, host: Host, key: str) -> None:
    for service in SERVICES:
        assert host.run("systemctl", "is-active", service, check=False) == "active\n", service
    found = answer(host, key)
    assert "Paris" in found["choices"][0]["message"]["content"]
    (row,) = asked(host, "usage", "list", "--account", "acme")
    tokens = (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == tokens
    assert status(host, f"{SITE}/") == 200


def test_a_second_run_changes_nothing_and_a_third_would_neither(control: Control) -> None:
    assert control.converge(PLAYBOOK, "-e", "release=v1").changed == {"solo": 0}
    assert control.converge(PLAYBOOK, "-e", "release=v1", "--check", "--diff").changed == {"solo": 0}


def test_every_service_is_in_its_sandbox(control: Control, host: Host) -> None:
    for service in SERVICES:
        exposed(host, service)
        assert "169.254.0.0/16" in shown(host, service, "IPAddressDeny"), (
            "or a provider tells it the machine's secrets"
        )


def shown(host: Host, service: str, name: str) -> str:
    return host.run("systemctl", "show", f"--property={name}", "--value", service).strip()


def exposed(host: Host, service: str) -> None:
    said = host.run("systemd-analyze", "security", "--no-pager", f"{service}.service")
    found = re.search(r"Overall exposure level for \S+: (\S+)", said)
    assert found is not None, said
    print(f"{service}: {found[1]}")  # noqa: T201
    assert float(found[1]) <= EXPOSURE_MOST, said


def test_settings_that_cannot_be_used_change_nothing(control: Control, host: Host, key: str) -> None:
    pids = {service: host.main_pid(service) for service in SERVICES}
    played = control.play(
        PLAYBOOK,
        "-e",
        "release=v1",
        "-e",
        json.dumps({"appliance_settings": {"gateway": {"cors": 1}}}),
    )
    assert played.status != 0
    assert "unknown field `cors`" in played.said
    assert {service: host.main_pid(service) for service in SERVICES} == pids
    assert answers(host, key)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_killed_comes_back(control: Control, host: Host, key: str, service: str) -> None:
    before = host.main_pid(service)
    began = time.monotonic()
    host.run("kill", "-9", str(before))
    host.wait("it was started again", lambda: host.main_pid(service) not in (0, before))
    wait(host, "it is ready", lambda: host.run("systemctl", "is-active", service, check=False) == "active\n", 180)
    wait(host, "answers come again", lambda: answers(host, key))
    assert status(host, f"{SITE}/") == 200
    print(f"{service}: answers again after {time.monotonic() - began:.1f} s")  # noqa: T201


def test_a_host_that_is_switched_off_serves_when_it_is_on_again(control: Control, host: Host, key: str) -> None:
    host.kill()
    host.start()
    wait(host, "answers come again", lambda: answers(host, key))
    host.run("appliance", "ledger", "verify")


def replicas_of(host: Host) -> set[str]:
    """The releases whose Python runs the engines."""
    said = host.run(
        "pgrep", "--full", "--list-full", "/opt/appliance/releases/[^/]*/.venv/bin/python.*forkserver", check=False
    )
    return set(re.findall(r"/opt/appliance/releases/([^/]+)/\.venv/bin/python", said))


def test_a_release_is_changed_and_changed_back_under_load_without_a_dropped_answer(
    control: Control, host: Host
) -> None:
    key = customer(host, "busy")
    host.run("install", "-d", "/opt/appliance/releases/v0/.venv")
    with load(host, key) as seen:
        control.converge("upgrade.yml", "-e", "release=v2")
        upgraded = time.monotonic()
        wait(host, "the replicas are the second release's", lambda: replicas_of(host) == {"v2"})
        print(f"replicas of the second release alone {time.monotonic() - upgraded:.0f} s later")  # noqa: T201
        releases = host.run("ls", "/opt/appliance/releases").split()
        control.converge("rollback.yml")
        wait(host, "the replicas are the first release's", lambda: replicas_of(host) == {"v1"})
    report = seen.report
    print(f"{len(report['usage'])} answers, {len(report['dropped'])} dropped")  # noqa: T201
    assert report["dropped"] == []
    assert set(report["releases"]) == {"", "v2"}
    assert report["releases"][-1] == "", "the first release serves again"
    assert releases == ["v1", "v2"], "v0 is too old; v1 is where one can go back to, and what Ray runs with"
    books_agree(host, "busy", report["usage"])


@pytest.fixture(scope="module")
def chat(control: Control, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What converges a node with a chat."""
    control.workshop.playbook(
        "chat.yml",
        [
            {"name": "TLS", "hosts": "first", "become": True, "tasks": chatting.TASKS},
            {
                "name": "Services", "hosts": "first", "become": True,
                "roles": ["ray", "appliance", "librechat"],
            },
        ],
    )  # fmt: skip
    variables = {
        "release": "v1", "mongo_uri": "mongodb://127.0.0.1:27017/LibreChat",
        "librechat_archive": str(chatting.archive(tmp_path_factory.mktemp("chat") / "librechat.tgz")),
    }  # fmt: skip
    return ["chat.yml", "-e", json.dumps(variables)]


def test_librechat_runs_as_a_service_of_its_own(control: Control, host: Host, chat: list[str]) -> None:
    control.converge(*chat)
    assert status(host, f"{CHAT}/health") == 200
    seen = json.loads(curl(host, f"{CHAT}/seen"))
    assert "smollm2" in seen["config"]
    assert seen["secrets"] == "EACCES", "it is another user's"
    assert not {"DATABASE_URL", "STRIPE_API_KEY", "NOTIFY_SOCKET"} & set(seen["variables"])
    exposed(host, "appliance-librechat")
    assert shown(host, "appliance-librechat", "IPAddressDeny") == "::/0 0.0.0.0/0"
    assert shown(host, "appliance-librechat", "IPAddressAllow") == "::1/128 127.0.0.0/8"
    proxy = f"/dev/tcp/{host.network.gateway}/{PROXY_PORT}"
    assert host.ssh(f"runuser -u librechat -- bash -c '< {proxy}'").returncode != 0, "the wall of chatting.py"
    assert control.converge(*chat).changed == {"solo": 0}
    assert control.converge(*chat, "--check", "--diff").changed == {"solo": 0}

    letter = "/var/lib/librechat/uploads/letter.txt"
    host.run("runuser", "-u", "appliance", "--", "rm", letter)
    assert "letter.txt" not in host.run("ls", "/var/lib/librechat/uploads"), "the worker can delete it"


def test_librechat_is_started_again_when_it_dies_and_when_its_configuration_is_another(
    control: Control, host: Host, chat: list[str]
) -> None:
    unit = "appliance-librechat"
    before = host.main_pid(unit)
    host.run("kill", "-9", str(before))
    host.wait("it was started again", lambda: host.main_pid(unit) not in (0, before))
    host.wait("it answers", lambda: status(host, f"{CHAT}/health") == 200)
    host.wait("it says so", lambda: host.run("systemctl", "is-active", unit, check=False) == "active\n")

    before = host.main_pid(unit)
    host.run("systemctl", "start", "appliance-librechat-render.service")
    time.sleep(5)
    assert host.main_pid(unit) == before, "nothing is new"
    host.run("runuser", "-u", "appliance", "--", "tee", "/var/lib/appliance/librechat/librechat.yaml")
    host.run("systemctl", "start", "appliance-librechat-render.service")
    host.wait("it was started again", lambda: host.main_pid(unit) not in (0, before), 120)
    host.wait("it has the new configuration", lambda: "smollm2" in curl(host, f"{CHAT}/seen"))
