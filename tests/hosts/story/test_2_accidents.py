"""Chapter 2: what runs is in its sandbox, is killed and switched off, and comes back by itself."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Figure
from tests.hosts.product import wait
from tests.hosts.story.operator import EXPOSURE_MOST, OTHERS, READY_SECONDS, SERVICES, Operator
from tests.record import Ordeal, record

NOT_YET = "The model `smollm2` is"
"""Being started, or not running."""
SLOW_RAY = "/etc/systemd/system/appliance-ray.service.d"

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


def test_a_restart_breaks_no_answer_off_and_lets_nobody_wait_for_ray(
    operator: Operator, key: str, figure: Figure
) -> None:
    host = operator.first
    host.put(f"{SLOW_RAY}/slow.conf", "[Service]\nExecStartPre=/bin/sleep 20\n")
    host.run("systemctl", "daemon-reload")
    rest_of_the_answer = operator.begins_an_answer(key)
    with ThreadPoolExecutor() as beside:
        restarted = beside.submit(host.reboot)
        assert rest_of_the_answer().rstrip().endswith("data: [DONE]")
        wait(host, "somebody is told how it is", lambda: NOT_YET in operator.ask(key))
        told_at = time.time()
        assert "directory.json" not in host.run("ls", "/var/lib/appliance/run"), "where replicas were before it"
        restarted.result()
    ray_came_at = float(host.run("date", "+%s", "--date", host.show("appliance-ray", "ActiveEnterTimestamp")))
    figure("told how it is after a restart: seconds before Ray, itself slow, has come", ray_came_at - told_at)
    assert told_at < ray_came_at
    host.run("rm", "-r", SLOW_RAY)
    host.run("systemctl", "daemon-reload")
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
