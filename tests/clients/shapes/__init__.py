"""Requests as agents send them, written from their public descriptions: each file has ``path`` and ``body``."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))


def shape(name: str) -> tuple[str, dict[str, Any]]:
    """Its path and its body, to which model, limit and ``stream`` are still to be added."""
    document = json.loads((FOLDER / f"{name}.json").read_text())
    return document["path"], document["body"]
