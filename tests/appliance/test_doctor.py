"""The doctor's judgement of what it found."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from appliance.doctor.findings import Facts, as_json, as_lines, examine, failed
from appliance.doctor.probes import is_verified
from appliance.doctor.selling import Selling
from appliance.settings import load_settings

CHAT = "https://chat.example.com"
HEALTHY = Facts(
    python=(3, 11, 2),
    gpus=(),
    gpu_error=None,
    engine="vllm-cpu",
    settings_error=None,
    port=8000,
    port_user="free",
    site_port=8001,
    site_port_user="free",
    site_address="",
    site_lacks=("no mail server", "the example terms", "no contact"),
    chat_address="",
    chat_lacks=(),
    places="",
    places_error=None,
    disk_free_gib=100.0,
    memory_available_gib=16.0,
    database="embedded",
    database_error=None,
    database_verified=True,
    ray_version="2.60.0",
    models_missing=(),
    models_ready=("smollm2",),
    running=False,
    open_ports=(),
    has_other_nodes=False,
    selling=Selling("nothing"),
)


def test_a_healthy_machine_needs_no_advice() -> None:
    findings = examine(HEALTHY)
    assert {finding.verdict for finding in findings} == {"ok"}
    assert not any(finding.advice for finding in findings)
    assert not failed(findings)


@pytest.mark.parametrize(
    ("changed", "check", "verdict", "advice"),
    [
        ({"python": (3, 10, 9)}, "python", "fail", "3.11"),
        ({"settings_error": "PORT: a number"}, "settings", "fail", "correct"),
        ({"engine": None}, "engine", "fail", "make up"),
        ({"engine": "vllm"}, "engine", "fail", "DEVICE=cpu"),
        ({"engine": "vllm", "gpu_error": "nvidia-smi: no driver"}, "engine", "fail", "driver"),
        ({"gpu_error": "nvidia-smi: no driver"}, "engine", "warn", "driver"),
        ({"gpus": ("H100 with driver 570",)}, "engine", "warn", "for the GPU"),
        ({"port_user": "other"}, "ports", "fail", "make up PORT=8080"),
        ({"site_port_user": "other"}, "ports", "fail", "make up SITE_PORT=8080"),
        ({"site_address": "https://example.com"}, "site", "warn", "mail.server"),
        ({"chat_address": CHAT, "chat_lacks": ("no MONGO_URI",)}, "chat", "fail", "neither exported nor deleted"),
        ({"chat_address": CHAT}, "chat", "fail", "site.address"),
        ({"chat_address": CHAT, "chat_lacks": ("/x is not there",)}, "chat", "warn", "chat.uploads"),
        ({"places_error": "/x.mmdb cannot be read"}, "review", "warn", "review.places"),
        ({"disk_free_gib": 5.0}, "disk", "warn", "APPLIANCE_HOME"),
        ({"disk_free_gib": 1.0}, "disk", "fail", "APPLIANCE_HOME"),
        ({"memory_available_gib": 4.0}, "memory", "warn", "kv_cache_gib"),
        ({"memory_available_gib": 1.0}, "memory", "fail", "kv_cache_gib"),
        ({"database_error": "no connection"}, "database", "fail", "database.log"),
        ({"database": "external", "database_error": "no connection"}, "database", "fail", "DATABASE_URL"),
        ({"database": "external", "database_verified": False}, "database", "warn", "sslmode=verify-full"),
        ({"ray_version": None}, "ray", "fail", "make up"),
        ({"models_missing": ("big",)}, "models", "warn", "make up"),
        ({"open_ports": ("6379 (ray: gcs_server)",)}, "network", "warn", "node_address"),
        ({"open_ports": ("6379 (ray: gcs_server)",), "has_other_nodes": True}, "network", "warn", "other nodes"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    changed: dict[str, Any], check: str, verdict: str, advice: str
) -> None:
    findings = examine(replace(HEALTHY, **changed))
    [bad] = [finding for finding in findings if finding.verdict != "ok"]
    assert (bad.check, bad.verdict) == (check, verdict)
    assert advice in bad.advice
    assert failed(findings) == (verdict == "fail")


def test_our_own_port_and_the_memory_we_use_are_no_fault_while_we_run() -> None:
    findings = examine(replace(HEALTHY, running=True, port_user="appliance", memory_available_gib=1.0))
    assert not failed(findings)


def test_programs_and_people_read_the_same_findings() -> None:
    findings = examine(replace(HEALTHY, ray_version=None))
    assert [entry["check"] for entry in json.loads(as_json(findings))] == [f.check for f in findings]
    assert "run `make up`" in "\n".join(as_lines(findings))


def test_that_no_travel_is_looked_for_is_said() -> None:
    (plain,) = [one for one in examine(HEALTHY) if one.check == "review"]
    (with_file,) = [one for one in examine(replace(HEALTHY, places="city.mmdb")) if one.check == "review"]
    assert (plain.found, with_file.found) == (
        "without review.places no travel is looked for", "impossible travel is looked for"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("where", "verified"),
    [
        ("db.example.com/d", False), ("10.0.0.5/d?sslmode=require", False), ("/d?host=db.example.com", False),
        ("10.0.0.5/d?sslmode=verify-full", True), ("10.0.0.5/d?sslmode=verify-ca", True),
        ("127.0.0.1/d", True), ("localhost/d", True), ("[::1]/d", True), ("/d?host=/var/run/postgresql", True),
    ],
)  # fmt: skip
def test_a_database_beyond_this_machine_must_prove_who_it_is(where: str, verified: bool) -> None:
    told = load_settings({"DATABASE_URL": f"postgresql://u@{where}"}).database_url
    assert told is not None
    assert is_verified(told) == verified
