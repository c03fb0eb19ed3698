"""Partners' keys: from the environment of `up` and `models apply`, kept with the secrets for later starts.

``<home>/secrets/partner_keys``, mode 0600: a JSON object, keys by the name of their variable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from serving.catalog.models import Model
from serving.files import write_secret


class KeyMissing(Exception):
    """A partner's key was never given; the message names the variable."""


def keep(home: Path, models: Iterable[Model], given: Mapping[str, str]) -> None:
    """Those of ``models``, the ones given now before those that were kept. Raises KeyMissing."""
    kept = _read(home)
    wanted = dict(kept)
    for model in models:
        if model.partner is None:
            continue
        key = given.get(model.partner.key, "").strip() or kept.get(model.partner.key)
        if not key:
            raise KeyMissing(
                f"models.yaml: {model.id}: {model.partner.key} is not set: it is the key for {model.partner.name}"
            )
        wanted[model.partner.key] = key
    if wanted != kept:
        write_secret(_file(home), json.dumps(wanted))


def forget_others(home: Path, models: Iterable[Model]) -> None:
    """Once ``models`` are what is declared, no other's key is needed."""
    kept, used = _read(home), {model.partner.key for model in models if model.partner is not None}
    if kept.keys() - used:
        write_secret(_file(home), json.dumps({name: key for name, key in kept.items() if name in used}))


def read(home: Path, variable: str) -> str:
    """Raises KeyMissing."""
    key = _read(home).get(variable)
    if key is None:
        raise KeyMissing(f"{variable} is not set")
    return key


def _file(home: Path) -> Path:
    return home / "secrets" / "partner_keys"


def _read(home: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(_file(home).read_text())
    except FileNotFoundError:
        return {}
    return found
