"""The installer, as far as it can be tried without installing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "install.py"


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_old_python_is_told_what_to_do(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    with pytest.raises(install.InstallError, match=r"3\.9\.2 is too old.*make up PYTHON="):
        install.check_python()


def test_a_debian_without_venv_is_told_which_package(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(install.InstallError, match=r"apt install python3\.\d+-venv"):
        install.check_python()


def test_a_debian_without_a_library_is_told_which_package(install: ModuleType) -> None:
    install.check_library("libc.so.6", "libc6")
    with pytest.raises(install.InstallError, match=r"libnone\.so\.1 is missing.*apt install libnone1"):
        install.check_library("libnone.so.1", "libnone1")


@pytest.mark.parametrize(
    ("script", "device"),
    [
        ("echo 'GPU 0: NVIDIA H100'", "gpu"),
        ("echo 'No devices were found'", "cpu"),
        ("exit 9", "cpu"),
        (None, "cpu"),
    ],
)
def test_the_gpu_is_used_where_its_driver_answers(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, device: str
) -> None:
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.choose_device("auto") == device
    assert install.choose_device("cpu") == "cpu"
    with pytest.raises(install.InstallError, match="DEVICE"):
        install.choose_device("tpu")


def test_a_changed_lock_is_installed(install: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "cpu.txt"
    lock.write_text("a==1\n")
    before = install.fingerprint("cpu", [lock])
    assert install.fingerprint("cpu", [lock]) == before
    lock.write_text("a==2\n")
    assert install.fingerprint("cpu", [lock]) != before
