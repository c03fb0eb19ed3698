"""Chapter 4: the operator opens a chat. A stand-in of LibreChat and one of MongoDB are what runs."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from tests.hosts.network import PROXY_PORT
from tests.hosts.product import curl, status
from tests.hosts.story.operator import CHAT, DOMAIN, EXPOSURE_MOST, Operator

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1200)]

UNIT = "appliance-librechat"


def test_a_chat_joins_by_the_inventory_alone(operator: Operator, chat: Mapping[str, object]) -> None:
    assert operator.curl(f"https://chat.{DOMAIN}/health") == "OK"


def test_it_sees_its_own_alone(operator: Operator, chat: Mapping[str, object]) -> None:
    assert "smollm2" in str(chat["config"])
    assert chat["secrets"] == "EACCES", "it is another user's"
    assert not {"DATABASE_URL", "STRIPE_API_KEY", "NOTIFY_SOCKET"} & set(chat["variables"])  # type: ignore[call-overload]
    assert operator.first.exposure(f"{UNIT}.service") <= EXPOSURE_MOST


def test_it_reaches_its_own_machine_alone(operator: Operator, chat: Mapping[str, object]) -> None:
    """It runs behind the wall of chatting.py, as systemd builds it on a machine."""
    host = operator.first
    assert set(host.show(UNIT, "IPAddressDeny").split()) == {"::/0", "0.0.0.0/0"}
    assert set(host.show(UNIT, "IPAddressAllow").split()) == {"::1/128", "127.0.0.0/8"}
    proxy = f"/dev/tcp/{host.network.gateway}/{PROXY_PORT}"
    assert host.ssh(f"runuser -u librechat -- bash -c '< {proxy}'").returncode != 0


def test_what_people_gave_it_can_be_deleted_by_the_worker(operator: Operator, chat: Mapping[str, object]) -> None:
    letter = "/var/lib/librechat/uploads/letter.txt"
    operator.first.run("runuser", "-u", "appliance", "--", "rm", letter)
    assert "letter.txt" not in operator.first.run("ls", "/var/lib/librechat/uploads")


def test_it_is_started_again_when_it_dies(operator: Operator, chat: Mapping[str, object]) -> None:
    host = operator.first
    before = host.main_pid(UNIT)
    host.run("kill", "-9", str(before))
    host.wait("it was started again", lambda: host.main_pid(UNIT) not in (0, before))
    host.wait("it answers", lambda: status(host, f"{CHAT}/health") == 200)
    host.wait("it says so", lambda: host.runs(UNIT))


def test_it_is_started_again_when_its_configuration_is_another(
    operator: Operator, chat: Mapping[str, object]
) -> None:
    host = operator.first
    before = host.main_pid(UNIT)
    host.run("systemctl", "start", "appliance-librechat-render.service")
    time.sleep(5)
    assert host.main_pid(UNIT) == before, "nothing is new"
    host.run("runuser", "-u", "appliance", "--", "tee", "/var/lib/appliance/librechat/librechat.yaml")
    host.run("systemctl", "start", "appliance-librechat-render.service")
    host.wait("it was started again", lambda: host.main_pid(UNIT) not in (0, before), 120)
    host.wait("it has the new configuration", lambda: "smollm2" in curl(host, f"{CHAT}/seen"))
