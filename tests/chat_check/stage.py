"""A system with a chat, started as its operator starts it, and one customer's browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
import yaml
from playwright.sync_api import Locator, Page

from appliance.settings import CONFIGS, Settings, load_settings
from tests.browser.conftest import link_of_mail, site_url
from tests.browser.sample import PASSWORD
from tests.browser.screenshots import FOLDER, chromium
from tests.chat_check import abacus
from tests.ports import free_port
from tests.scenarios.system import START_SECONDS, System, running, write_models

EMAIL = "grace@example.com"
PATIENCE_SECONDS = 60
PROMPT, ANSWER, TALK = "textarea#prompt-textarea", ".message-render", "[data-testid=convo-item]"
"""Of LibreChat's page: where one writes, each message, each conversation in the list."""
WORDS = ".message-content"
"""Of a message: what was written, without its head."""
STOP = "[data-testid=stop-generation-button]"


@dataclass(frozen=True)
class Stage:
    system: System
    page: Page
    settings: Settings
    ready_seconds: float
    """From `appliance up` to LibreChat's answer."""
    models: Mapping[str, str]
    """The environment of a command that reads the models."""

    @property
    def site(self) -> str:
        return site_url(self.system)

    @property
    def chat(self) -> str:
        return self.settings.chat.address

    def photograph(self, name: str) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=FOLDER / f"chat-{name}.png")

    def new_chat(self) -> None:
        self.page.goto(f"{self.chat}/c/new")
        self.page.wait_for_selector(PROMPT)

    def choose(self, model: str) -> None:
        self.page.get_by_test_id("model-selector-button").click()
        self.page.locator("[role=combobox]:focus").fill(model)
        self.page.get_by_role("option", name=model).first.click()

    def offer(self, model: str) -> None:
        """One more of the partner's, while the system runs."""
        file = Path(self.models["APPLIANCE_MODELS"])
        document = yaml.safe_load(file.read_text())
        document["models"].append({**document["models"][-1], "id": model})
        file.write_text(yaml.safe_dump(document))
        self.system.appliance("models", "apply", env=self.models)

    def answers(self) -> bool:
        """Whether LibreChat does."""
        assert self.settings.librechat is not None
        try:
            with urlopen(f"http://127.0.0.1:{self.settings.librechat.port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, text: str) -> Locator:
        """The answer, which has not begun to be there when this returns."""
        there = self.page.locator(ANSWER).count()
        self.page.fill(PROMPT, text)
        self.page.press(PROMPT, "Enter")
        self.page.wait_for_function(
            f"n => document.querySelectorAll('{ANSWER}').length >= n",
            arg=there + 2,
            timeout=PATIENCE_SECONDS * 1000,
        )
        return self.page.locator(ANSWER).last

    def is_answering(self) -> bool:
        return self.page.locator(STOP).count() > 0

    def stop(self) -> None:
        """A small model may never come to the end of its answer."""
        if self.is_answering():
            self.page.locator(STOP).click()
        self.page.locator(STOP).wait_for(state="detached")

    def facts(self) -> dict[str, str]:
        """What a reader compares: versions, the memory, the seconds of the start."""
        mib = {name: sum(one.memory_info().rss for one in self._of(name)) >> 20 for name in ("librechat", "mongo")}
        return {
            "start": f"{self.ready_seconds:.0f} s from `make up` to LibreChat's page, engine included",
            "memory": f"LibreChat {mib['librechat']} MiB, the database to try it with {mib['mongo']} MiB",
        }

    def _of(self, part: str) -> list[psutil.Process]:
        (main,) = self.system.processes(part)[:1]
        return [main, *main.children(recursive=True)]


@contextmanager
def staged() -> Iterator[Stage]:
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="appliance-chat-"))
    home.chmod(0o711)
    models = os.environ.get("APPLIANCE_TEST_MODELS")
    if models:
        (home / "models").symlink_to(models)
    source = str(Path(os.environ.get("LIBRECHAT_SOURCE") or "librechat").resolve())
    try:
        with _abacus(home) as models_env, chromium() as browser, ExitStack() as stack:
            env = {"CHAT": "1", "LIBRECHAT_SOURCE": source, **models_env}
            system = stack.enter_context(running(home, free_port(), env))
            _wait_for_the_chat(system)
            found = re.search(r"LibreChat at (https://localhost:\d+)", system.screen.read_text())
            assert found is not None, system.screen.read_text()
            seconds = time.monotonic() - began
            ports = {"CHAT_PORT": found[1].rpartition(":")[2], **_ports(system)}
            settings = load_settings({**system.env, **env, **ports})
            # Nobody is to trust the certificate that is made for a trial.
            context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 860})
            page = context.new_page()
            page.set_default_timeout(PATIENCE_SECONDS * 1000)
            stage = Stage(system, page, settings, seconds, models_env)
            _sign_up(stage)
            yield stage
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _abacus(home: Path) -> Iterator[dict[str, str]]:
    """A partner whose model uses tools, and the environment of a system that has it beside its own models."""
    port = free_port()
    document = yaml.safe_load((CONFIGS / "models.yaml").read_text())
    rates = {"input": "1", "cached_input": "0.1", "output": "2"}
    partner = {"name": "Abacus", "url": f"http://127.0.0.1:{port}/v1", "key": "ABACUS_KEY", "model": abacus.MODEL}
    document["models"].append({"id": abacus.MODEL, "partner": partner, "context_length": 4096, "rates": rates})
    process = subprocess.Popen([sys.executable, "-m", "tests.chat_check.abacus", "--port", str(port)])
    try:
        yield {**write_models(home, document), "ABACUS_KEY": abacus.KEY}
    finally:
        process.kill()
        process.wait()


def _wait_for_the_chat(system: System) -> None:
    system.wait_until_ready()
    until = time.monotonic() + START_SECONDS
    while "LibreChat at " not in system.screen.read_text():
        assert time.monotonic() < until, system.screen.read_text()
        time.sleep(0.2)


def _ports(system: System) -> dict[str, str]:
    """Those that were chosen, as the part was told them."""
    env = system.processes("librechat")[0].environ()
    return {name: env[name] for name in ("LIBRECHAT_PORT", "SIGN_ON_PORT", "MONGO_PORT", "SITE_PORT")}


def _sign_up(stage: Stage) -> None:
    page = stage.page
    page.goto(f"{stage.site}/sign-up")
    for name, value in (("name", "Grace"), ("email", EMAIL), ("password", PASSWORD)):
        page.fill(f"#{name}", value)
    page.check("#terms")
    page.click("main button")
    page.wait_for_selector("h1:has-text('Look into your mail')")
    page.goto(link_of_mail(stage.system, EMAIL, "/confirm"))
    page.click("main button")
    page.wait_for_selector("h1:has-text('Overview')")
    stage.system.appliance("credit", "grant", EMAIL, "5")
