"""A site as a browser finds it: a process of its own, over a PostgreSQL of its own, with a month of business."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pyotp

from appliance import secrets
from appliance.identity.first import first_link
from appliance.settings import Settings, load_settings
from billing.database import migrations
from serving.catalog.declared import declare
from serving.control.directory import Publisher
from tests.appliance.postgres_server import running_cluster
from tests.browser.sample import make_sample
from tests.ports import free_port

START_SECONDS = 60
CHAT = "https://chat.example.com"
CONFIG = """
site: {name: Example AI, company: "Example AS, Oslo, org. no. 999 999 999", contact: help@example.com}
chat: {address: "%s"}
"""


@dataclass(frozen=True)
class Served:
    settings: Settings
    url: str
    authenticators: list[pyotp.TOTP] = field(default_factory=list)
    recovery_codes: list[str] = field(default_factory=list)
    """The operator's, once there is one."""

    @property
    def first_link(self) -> str:
        """The operator's first way in."""
        return f"{self.url}/first?link={first_link(secrets.read(self.settings.secrets).key_pepper)}"


@contextmanager
def served_site() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder, running_cluster() as cluster:
        home = Path(folder)
        (home / "appliance.yaml").write_text(CONFIG % CHAT)
        env = {
            "APPLIANCE_HOME": folder, "DATABASE_URL": cluster.url(), "SITE_PORT": str(free_port()),
            "APPLIANCE_CONFIG": str(home / "appliance.yaml"), "STRIPE_SANDBOX_PORT": str(free_port()),
        }  # fmt: skip
        settings = load_settings(env)
        secrets.create(settings.secrets)
        settings.run.mkdir()
        declare(settings.declared, settings.models)
        with ThreadPoolExecutor(1) as aside:  # Playwright has an event loop in this thread
            aside.submit(lambda: asyncio.run(_fill(settings))).result()
        publish(settings)
        with (home / "site.log").open("wb") as log:
            command = [sys.executable, "-m", "appliance", "site"]
            process = subprocess.Popen(command, env=os.environ | env, stdout=log, stderr=log)
            keys = secrets.read_sandbox(settings.secrets)
            known = {"STRIPE_API_KEY": keys.key, "STRIPE_WEBHOOK_SECRET": keys.webhook}
            command = [sys.executable, "-m", "appliance", "stripe-sandbox"]
            sandbox = subprocess.Popen(command, env=os.environ | env | known, stdout=log, stderr=log)
        try:
            _wait(settings.site_url, process, home / "site.log")
            yield Served(settings, settings.site_url)
        finally:
            for one in (process, sandbox):
                one.terminate()
                one.wait()


def publish(settings: Settings) -> None:
    """What a system would say of its models that has one of them on two GPUs."""

    def replica(name: str, host: str, **more: int) -> dict[str, Any]:
        plain = {"id": name, "endpoint": f"http://{host}:41234", "draining": False, "node": host}
        return plain | {"running": 0, "waiting": 0} | more

    gpu = 80 << 30
    models: dict[str, dict[str, Any]] = {
        "smollm2": {
            "replicas": [
                replica("d1x9kc02", "10.0.0.1", running=31, waiting=4, memory_used=71 << 30, memory_total=gpu),
                replica("p7m30tq5", "10.0.0.2", running=28, memory_used=70 << 30, memory_total=gpu),
            ],
            "tokens_per_second": 4183.2,
        },
        "minilm": {"replicas": [replica("z0a5f8n1", "10.0.0.2", running=2, memory_used=1 << 30)]},
    }  # fmt: skip
    common = {
        "state": "ready",
        "message": "",
        "context_length": 8192,
        "traits": {"template_tokens": 70},
        "wanted": 1,
    }
    described = {name: {**common, **found, "wanted": len(found["replicas"])} for name, found in models.items()}
    Publisher(settings.directory).publish(described, published_at=time.time())


async def _fill(settings: Settings) -> None:
    await migrations.upgrade(settings.sqlalchemy_url)
    await make_sample(settings, secrets.read(settings.secrets).key_pepper)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    began = time.monotonic()
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() - began < START_SECONDS, log.read_text()
        try:
            with urlopen(f"{url}/livez", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.1)
