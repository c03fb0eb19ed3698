"""The variables of Ansible's roles: each default is described and used, and each description is of something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parent.parent.parent / "ansible" / "roles"
NAMES = sorted(folder.parent.name for folder in ROLES.glob("*/defaults"))
"""The roles that can be told something."""


def read(role: str, file: str) -> dict[str, Any]:
    found = yaml.safe_load((ROLES / role / file).read_text())
    assert isinstance(found, dict)
    return found


def entries(role: str) -> dict[str, dict[str, Any]]:
    """What may be said to a role, by its entry point and name."""
    specs = read(role, "meta/argument_specs.yml")["argument_specs"]
    return {entry: spec.get("options", {}) for entry, spec in specs.items()}


@cache
def used() -> frozenset[str]:
    """Every name that a role speaks of, its own lines in defaults and specifications aside."""
    return frozenset(name for file in ROLES.rglob("*") if file.is_file() for name in spoken(file))


def spoken(file: Path) -> Iterator[str]:
    if file.name == "argument_specs.yml":
        return
    text = file.read_text()
    if file.parent.name == "defaults":
        text = re.sub(r"^\w+:|#.*", "", text, flags=re.MULTILINE)
    yield from re.findall(r"\w+", text)


@pytest.mark.parametrize("role", NAMES)
def test_what_has_a_default_is_described_and_used(role: str) -> None:
    defaults = read(role, "defaults/main.yml").keys()
    assert not defaults - entries(role)["main"].keys()
    assert not defaults - used()
    assert not {name for name in defaults if not name.startswith(f"{role}_")}


@pytest.mark.parametrize("role", NAMES)
def test_what_is_described_has_a_default_or_is_required(role: str) -> None:
    defaults = read(role, "defaults/main.yml").keys()
    for entry, options in entries(role).items():
        for name, option in options.items():
            assert name in defaults or option.get("required"), (entry, name)
            assert option.get("description"), (entry, name)
            assert name in used(), (entry, name)


@pytest.mark.parametrize("role", NAMES)
def test_a_specification_is_of_tasks(role: str) -> None:
    for entry in entries(role):
        assert (ROLES / role / "tasks" / f"{entry}.yml").exists(), entry
