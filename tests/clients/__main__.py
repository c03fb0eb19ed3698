"""``make clients``: other people's clients and suites against ``appliance up``; ``ARGS=langchain`` for some.

Each suite gets its own environment below ``var/clients``, with the newest packages there are. Two are of another
kind, in one exact version and without a system: ``scripts``, where TypeScript reads the site's own scripts, and
``openid-client``, LibreChat's client of OpenID Connect, which our own tests drive. What is skipped says why; what
fails ends the command with status 1. Figures go to ``var/clients.json``, reports to ``var/clients/*.xml``.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.ports import free_port
from tests.record import Ordeal, record
from tests.scenarios.system import System, running
from tests.web.openid_clients import NODE_FOLDER

SUITES = Path(__file__).parent / "suites"
PLAIN_WORDS = Path(__file__).parents[2] / "appliance/gateway/plain_words.py"
SHAPES = Path(__file__).parent / "shapes"
STATIC = Path(__file__).parents[2] / "appliance/web/static"
NODE = "node"
SCRIPTS = "scripts"
OPENID_CLIENT, OPENID = "openid-client", "openid"
WITHOUT_SYSTEM = (SCRIPTS, OPENID_CLIENT)
ENVIRONMENTS = Path("var/clients").resolve()
PYTHON_SUITES: Mapping[str, tuple[str, ...]] = {
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "langchain": ("langchain-openai", "langchain-tests", "pytest-asyncio"),
    "instructor": ("instructor",),
    "llm": ("llm",),
    "schemathesis": ("schemathesis",),
    "hostile": ("httpx",),
}
NODE_SUITES = {"openai-node": "openai.test.mjs", "ai-sdk": "ai-sdk.test.mjs"}
SECONDS = 1800
ASYNCIO_MODE = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session")


@dataclass(frozen=True)
class Outcome:
    passed: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    figures: dict[str, str]


def main(wanted: list[str]) -> int:
    known = [*WITHOUT_SYSTEM, *PYTHON_SUITES, *NODE_SUITES]
    names = wanted or known
    if unknown := set(names) - set(known):
        raise SystemExit(f"there is no suite {', '.join(unknown)}: {', '.join(known)}")
    installed = {NODE_FOLDER: str(ENVIRONMENTS / OPENID)}
    outcomes = {name: outcome_of(name, installed) for name in names if name in WITHOUT_SYSTEM}
    if clients := [name for name in names if name not in WITHOUT_SYSTEM]:
        with started() as system:
            environment = customer(system)
            outcomes |= {name: outcome_of(name, environment) for name in clients}
            system.wait_until_no_holds(30)
            system.appliance("ledger", "verify")
            say("the books balance")
    figures = {name: asdict(outcome) for name, outcome in outcomes.items()}
    Path("var/clients.json").write_text(json.dumps(figures, indent=2))
    return 1 if any(one.failed for one in outcomes.values()) else 0


def outcome_of(name: str, environment: dict[str, str]) -> Outcome:
    say(f"{name}: preparing")
    command = prepare(name)
    say(f"{name}: running")
    outcome = run(command, environment, ENVIRONMENTS / f"{name}.xml")
    show(name, outcome)
    return outcome


@contextmanager
def started() -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="appliance-", ignore_cleanup_errors=True) as home:
        say("starting the system")
        with running(Path(home), free_port()) as system:
            system.wait_until_ready()
            yield system


def customer(system: System) -> dict[str, str]:
    """What the clients of OpenAI and of Anthropic look for in their environment, and what agents send."""
    key = system.customer("1000", "clients")
    base = f"{system.url}/v1"
    return {
        "OPENAI_API_KEY": key,
        "OPENAI_BASE_URL": base,
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_BASE_URL": system.url,
        "SHAPES": str(SHAPES),
    }


def prepare(name: str) -> list[str]:
    """Installs what the suite needs; the command that runs it."""
    if name == SCRIPTS:
        folder = node_folder(SCRIPTS)
        shutil.rmtree(folder / STATIC.name, ignore_errors=True)
        (folder / STATIC.name).mkdir()
        for file in STATIC.glob("*.js"):
            shutil.copy(file, folder / STATIC.name)
        return node_test(folder / "types.test.mjs")
    if name == OPENID_CLIENT:
        node_folder(OPENID)
        return [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "npm",
            "tests/web/test_openid_clients.py",
            "--junitxml",
        ]
    if name in NODE_SUITES:
        return node_test(node_folder(NODE) / NODE_SUITES[name])
    folder = ENVIRONMENTS / name
    if not (folder / "bin/pip").exists():
        venv.create(folder, with_pip=True)
    quietly([str(folder / "bin/pip"), "install", "--upgrade", "pytest", *PYTHON_SUITES[name]], Path())
    asyncio_mode = ASYNCIO_MODE if "pytest-asyncio" in PYTHON_SUITES[name] else ()
    suite = folder / f"suite_{name}.py"  # there it finds nothing of ours
    suite.write_bytes((SUITES / suite.name).read_bytes())
    (folder / PLAIN_WORDS.name).write_bytes(PLAIN_WORDS.read_bytes())  # but for this
    return [
        str(folder / "bin/python"), "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={folder}",
        f"--confcutdir={folder}", "-p", "no:cacheprovider", *asyncio_mode, str(suite), "--junitxml",
    ]  # fmt: skip


def node_folder(name: str) -> Path:
    """A copy of the suites of that name, with the packages that they need."""
    folder = ENVIRONMENTS / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (SUITES / name).iterdir():
        shutil.copy(file, folder)
    quietly(["npm", "install", "--no-audit", "--no-fund"], folder)
    return folder


def node_test(file: Path) -> list[str]:
    return ["node", "--test", "--test-reporter=junit", str(file)]


def quietly(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed:\n{done.stderr[-2000:]}")


def run(command: list[str], environment: dict[str, str], report: Path) -> Outcome:
    """The report stays: it says how to make a failure happen again."""
    report.unlink(missing_ok=True)
    if command[0] == "node":  # its options come before the file
        command = [*command[:3], "--test-reporter-destination", str(report), command[3]]
    else:
        command = [*command, str(report)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "ANTHROPIC"))}
    done = subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode not in (0, 1) or not report.exists():
        raise SystemExit(f"status {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return read(ET.parse(report).getroot())


def read(report: ET.Element) -> Outcome:
    passed, failed, skipped = 0, [], []
    for case in report.iter("testcase"):
        name = case.get("name", "")
        problems = [*case.iter("failure"), *case.iter("error")]
        if problems:
            failed.append(f"{name}: {(problems[0].get('message') or '').partition(chr(10))[0][:200]}")
        elif (reason := case.find("skipped")) is not None:
            skipped.append(f"{name}: {reason.get('message')}")
        else:
            passed += 1
    noted = {one.get("name", ""): one.get("value", "") for one in report.iter("property")}
    if "requests" in noted:
        record(Ordeal.FUZZED, int(noted["requests"]))
    figures = {name: value for name, value in noted.items() if not name.startswith("hypothesis-")}
    return Outcome(passed, tuple(failed), tuple(skipped), figures)


def show(name: str, outcome: Outcome) -> None:
    say(f"{name}: {outcome.passed} passed, {len(outcome.failed)} failed, {len(outcome.skipped)} skipped")
    for name, value in outcome.figures.items():
        say(f"  {name}: {value}")
    for line in outcome.failed:
        say(f"  failed   {line}")
    for line in outcome.skipped:
        say(f"  skipped  {line}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
