"""A further node says what it lacks before it starts anything."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from appliance import secrets
from appliance.supervisor.system import RayNode

ANSIBLE = Path(__file__).parent.parent.parent / "ansible"
DATABASE = "postgresql://nobody@127.0.0.1:1/none"


def appliance(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        env={**inherited, "APPLIANCE_HOME": str(home), "PORT": "0", "SITE_PORT": "0", **env},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_it_wants_the_first_nodes_database_and_secrets(tmp_path: Path) -> None:
    without_database = appliance(tmp_path, "join", "10.0.0.1:6379")
    assert (without_database.returncode, "DATABASE_URL" in without_database.stderr) == (1, True)
    without_secrets = appliance(tmp_path, "join", "10.0.0.1:6379", DATABASE_URL=DATABASE)
    assert (without_secrets.returncode, "copy them from the first" in without_secrets.stderr) == (1, True)
    assert not (tmp_path / "secrets").exists(), "secrets of its own would open nothing"


def test_it_wants_the_chats_secrets_too_where_there_is_a_chat(tmp_path: Path) -> None:
    secrets.create(tmp_path / "secrets")
    (tmp_path / "secrets" / "chat_service_key").unlink()
    config = tmp_path / "appliance.yaml"
    config.write_text("chat: {address: https://chat.example.com}\n")
    done = appliance(tmp_path, "join", "127.0.0.1:6379", DATABASE_URL=DATABASE, APPLIANCE_CONFIG=str(config))
    assert done.returncode == 1
    assert "chat_service_key is missing" in done.stderr
    assert "copy them from the first" in done.stderr
    without = appliance(tmp_path, "join", "127.0.0.1:6379", DATABASE_URL=DATABASE)
    assert "secrets" not in without.stderr


def test_what_ansible_gives_it_is_enough(tmp_path: Path) -> None:
    secrets.create(tmp_path / "secrets")
    given = yaml.safe_load((ANSIBLE / "roles/appliance/vars/main.yml").read_text())["appliance_shared_secrets"]
    for file in (tmp_path / "secrets").iterdir():
        if file.name not in given:
            file.unlink()
    config = tmp_path / "appliance.yaml"
    config.write_text("chat: {address: https://chat.example.com}\n")
    done = appliance(tmp_path, "join", "127.0.0.1:6379", DATABASE_URL=DATABASE, APPLIANCE_CONFIG=str(config))
    assert "give it a `ray.node_address`" in done.stderr, "which is the next that is looked at"


@pytest.mark.parametrize("first", ["10.0.0.1", "somewhere", "10.0.0.1:ray"])
def test_an_address_that_is_none_is_named(tmp_path: Path, first: str) -> None:
    secrets.create(tmp_path / "secrets")
    done = appliance(tmp_path, "join", first, DATABASE_URL=DATABASE)
    assert done.returncode == 1
    assert f"{first}: the first node's Ray is expected" in done.stderr


def test_a_first_node_that_keeps_to_itself_is_not_joined(tmp_path: Path) -> None:
    secrets.create(tmp_path / "secrets")
    done = appliance(tmp_path, "join", "127.0.0.1:6379", DATABASE_URL=DATABASE)
    assert (done.returncode, "give it a `ray.node_address`" in done.stderr) == (1, True)


def test_a_first_node_that_does_not_answer_is_named_and_waited_for(tmp_path: Path) -> None:
    secrets.create(tmp_path / "secrets")
    with socket.socket() as first:
        first.bind(("127.0.0.2", 0))
        head = f"127.0.0.2:{first.getsockname()[1]}"
        env = os.environ | {"APPLIANCE_HOME": str(tmp_path), "PORT": "0", "DATABASE_URL": DATABASE}
        with subprocess.Popen(
            [sys.executable, "-m", "appliance", "join", head], env=env, stdout=subprocess.PIPE, text=True
        ) as joining:
            assert joining.stdout is not None
            assert f"nobody answers at {head} yet" in joining.stdout.readline()
            assert joining.poll() is None
            joining.terminate()


@pytest.mark.parametrize(("head", "alone"), [(None, True), ("127.0.0.2:6379", False)])
def test_a_node_that_joins_another_is_not_alone_whatever_its_address(
    tmp_path: Path, head: str | None, *, alone: bool
) -> None:
    assert RayNode("127.0.0.1", 6379, 6380, tmp_path, head).alone is alone


@pytest.mark.parametrize("command", [("models", "apply"), ("reconcile",)])
def test_what_is_the_first_nodes_business_is_refused_here(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/joined").write_text("10.0.0.1:6379\n")
    done = appliance(tmp_path, *command, DATABASE_URL=DATABASE)
    assert done.returncode == 1
    assert "this node joined 10.0.0.1:6379: run the command on that one" in done.stderr


def test_the_first_node_needs_a_gateway(tmp_path: Path) -> None:
    config = tmp_path / "appliance.yaml"
    config.write_text("gateway: {processes: 0}")
    done = appliance(tmp_path, "up", APPLIANCE_CONFIG=str(config))
    assert done.returncode == 1
    assert "gateway.processes: the first node needs one" in done.stderr
