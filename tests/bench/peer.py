"""The peer that the relay is measured beside: LiteLLM's proxy without a database, in an environment of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.client import replicas as client
from tests.bench.child import running_child

PACKAGE = "litellm[proxy]==1.106.*"
ENVIRONMENT = Path("var/bench-peer")
KEY = "sk-bench"


class PeerMissing(Exception):
    """It cannot be installed here."""


def install() -> Path:
    """The peer's Python, installed at the first call. Raises PeerMissing."""
    python = (ENVIRONMENT / "bin/python").absolute()
    uv = Path(sys.executable).with_name("uv")
    if not (ENVIRONMENT / "bin/litellm").exists():
        print(f"installing {PACKAGE} into {ENVIRONMENT} ...", flush=True)  # noqa: T201
        for command in (
            [str(uv), "venv", "-q", "--clear", "-p", sys.executable, str(ENVIRONMENT)],
            [str(uv), "pip", "install", "-q", "--python", str(python), PACKAGE],
        ):
            if subprocess.run(command, check=False, timeout=600).returncode != 0:
                raise PeerMissing(f"{PACKAGE} cannot be installed here")
    return python


@contextmanager
def running(python: Path, folder: Path, port: int, engine: str, secret: str) -> Iterator[psutil.Process]:
    """The proxy before the engine at the URL ``engine``; its key is ``KEY``."""
    parameters = {
        "model": "openai/smollm2",
        "api_base": f"{engine}/v1",
        "api_key": "unused",
        "extra_headers": {client.HEADER_SECRET: secret},
    }
    config = folder / "litellm.json"  # YAML reads JSON
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "smollm2", "litellm_params": parameters}],
                "general_settings": {"master_key": KEY},
                "litellm_settings": {"telemetry": False},
            }
        )
    )
    command = [str(python.with_name("litellm")), "--config", str(config), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
    env = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder), "LITELLM_LOG": "ERROR"}
    with running_child(command, env, f"http://127.0.0.1:{port}/health/liveliness", 120) as process:
        yield process
