"""Models from a hub: a server of the hub's protocol on the loopback, which breaks off, lies and goes away."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serving.weights.prepare import ready_directory

COMMIT = "c0ffee" + "0" * 34
SOURCE = "hub:acme/tiny@main"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": bytes(range(256)) * 40_000,
    "pytorch_model.bin": b"pickle",
    "modeling_tiny.py": b"print('mine')",
    "onnx/model.onnx": b"onnx",
}
LARGE = "model.safetensors"


@dataclass
class Hub:
    """``break_at`` ends the next answers to the large file after so many bytes; ``lie`` changes a byte."""

    url: str = ""
    break_at: list[int] = field(default_factory=list)
    lie: bool = False
    ranges: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            if self.path.startswith("/api/models/acme/tiny/revision/main"):
                self._send(200, json.dumps(_info()).encode())
            elif self.path.startswith(f"/acme/tiny/resolve/{COMMIT}/"):
                self._file(self.path.rpartition("/")[2])
            else:
                self._send(404, b"{}")

        def _file(self, name: str) -> None:
            state.fetched.append(name)
            content = FILES[name]
            start = int(self.headers["range"].removeprefix("bytes=").rstrip("-"))
            if name == LARGE:
                state.ranges.append(self.headers["range"])
                if state.lie:
                    content = b"X" + content[1:]
                if state.break_at:
                    self.send_response(206)
                    self.send_header("content-length", str(len(content) - start))
                    self.end_headers()
                    self.wfile.write(content[start : start + state.break_at.pop()])
                    self.close_connection = True
                    return
            self._send(206, content[start:])

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield state
    server.shutdown()
    server.server_close()


def _info() -> dict[str, object]:
    siblings = []
    for name, content in FILES.items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        one: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
        if name == LARGE:
            sha256 = hashlib.sha256(content).hexdigest()
            one["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        siblings.append(one)
    return {"id": "acme/tiny", "modelId": "acme/tiny", "sha": COMMIT, "siblings": siblings}


def fetch(models: Path, source: str = SOURCE) -> subprocess.CompletedProcess[str]:
    """As the system does it: in a process of its own."""
    command = [sys.executable, "-m", "serving.weights.prepare", source, "tiny", str(models)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_needed_comes_once_and_then_works_offline(hub: Hub, tmp_path: Path) -> None:
    done = fetch(tmp_path)
    assert done.returncode == 0, done.stderr
    *_, told, place = done.stdout.splitlines()
    assert told == f"downloading {LARGE}: 0.0 of 0.0 GiB"
    directory = ready_directory(SOURCE, "tiny", tmp_path)
    assert directory == Path(place)
    assert (directory / LARGE).read_bytes() == FILES[LARGE]
    assert sorted(hub.fetched) == ["config.json", LARGE]
    assert fetch(tmp_path).returncode == 0
    assert len(hub.fetched) == 2
    assert ready_directory("hub:acme/tiny@other", "tiny", tmp_path) is None


def test_a_download_goes_on_where_it_was_broken_off(hub: Hub, tmp_path: Path) -> None:
    hub.break_at = [3_000_000, 1_000_000]
    assert fetch(tmp_path).returncode == 0
    assert hub.ranges == ["bytes=0-", "bytes=1000000-", "bytes=4000000-"]


def test_a_process_that_ended_is_followed_by_one_that_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.break_at = [1_000_000] * 5
    assert "broke off" in fetch(tmp_path).stderr
    assert ready_directory(SOURCE, "tiny", tmp_path) is None
    assert fetch(tmp_path).returncode == 0
    assert hub.ranges[-1] == "bytes=5000000-"


def test_what_has_another_checksum_is_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.lie = True
    assert "does not have the checksum" in fetch(tmp_path).stderr
    assert ready_directory(SOURCE, "tiny", tmp_path) is None
    assert not any(LARGE in path.name for path in tmp_path.rglob("*"))


def test_a_name_that_the_hub_does_not_know_is_said(hub: Hub, tmp_path: Path) -> None:
    done = fetch(tmp_path, "hub:acme/none")
    assert (done.returncode, "answers 404 for acme/none" in done.stderr) == (1, True)
