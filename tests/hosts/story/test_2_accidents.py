"""Chapter 2: what runs is in its sandbox, is killed and switched off, and comes back by itself."""

from __future__ import annotations

import json
import time

import pytest

from tests.conftest import Figure
from tests.hosts.product import wait
from tests.hosts.story.operator import EXPOSURE_MOST, OTHERS, READY_SECONDS, SERVICES, Operator
from tests.record import Ordeal, record

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("service", [*SERVICES, "caddy"])
def test_every_service_is_in_its_sandbox(operator: Operator, key: str, service: str) -> None:
    assert operator.first.exposure(f"{service}.service") <= EXPOSURE_MOST


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_hears_what_a_provider_tells_the_machine(operator: Operator, key: str, service: str) -> None:
    denied = set(operator.first.show(service, "IPAddressDeny").split())
    assert denied & {"0.0.0.0/0", "169.254.0.0/16"}


def test_settings_that_cannot_be_used_change_nothing(operator: Operator, key: str) -> None:
    pids = {service: operator.first.main_pid(service) for service in SERVICES}
    wrong = json.dumps({"appliance_settings": {"gateway": {"cors": 1}}})
    played = operator.play("site.yml", "--tags=appliance", "-e", wrong)
    assert played.status != 0
    assert "unknown field `cors`" in played.said
    assert {service: operator.first.main_pid(service) for service in SERVICES} == pids
    assert operator.answers(key)


@pytest.mark.parametrize("service", [*SERVICES, *OTHERS])
def test_a_service_that_is_killed_comes_back(operator: Operator, key: str, service: str, figure: Figure) -> None:
    host = operator.first
    before, began = host.main_pid(service), time.monotonic()
    assert before
    host.run("kill", "-9", str(before))
    record(Ordeal.KILLS)
    host.wait("it was started again", lambda: host.main_pid(service) not in (0, before))
    wait(host, "it is ready", lambda: host.runs(service), 180)
    wait(host, "answers come again", lambda: operator.answers(key))
    figure(f"{service} killed: answers again after, seconds", time.monotonic() - began)


def test_a_server_that_is_restarted_serves_again(operator: Operator, key: str) -> None:
    operator.first.reboot()
    serves(operator, key)


def test_a_server_whose_plug_was_pulled_serves_again(operator: Operator, key: str) -> None:
    operator.first.kill()
    operator.first.start()
    serves(operator, key)
    operator.first.run("appliance", "ledger", "verify")


def serves(operator: Operator, key: str) -> None:
    host = operator.first
    wait(host, "answers come again", lambda: operator.answers(key), READY_SECONDS)
    wait(host, "every service runs", lambda: all(host.runs(one) for one in (*SERVICES, *OTHERS)))
    assert host.run("systemctl", "list-units", "--failed", "--no-legend", "--plain") == ""
