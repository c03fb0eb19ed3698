"""The last lines of a start: the addresses, the key, and a first request that works as printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from appliance.settings import Settings

QUESTION = "What is the capital of France?"


def welcome(
    settings: Settings, url: str, headline: str, *, first_start: bool, chat_comes: bool = False
) -> list[str]:
    """The key itself is printed at the first start only; later it is in demo.env.

    ``chat_comes``: LibreChat is not there yet, as it starts last.
    """
    file = _shown(settings.demo)
    key = _demo_key(settings.demo)
    lines = ["", headline, "", f"  {url}", f"  {settings.site_url} for people"]
    if chat_comes:
        lines.append(f"  {settings.chat.address} for chats, as soon as a line below says so")
    if link := _first_link(settings.first_link):
        lines.append(f"  {link} for you, the operator: choose your password there")
    if key is None or not settings.models:
        return [*lines, ""]
    lines.append(f"  key {key}, also in {file}" if first_start else f"  key in {file}")
    token = key if first_start else f"$(sed -n 's/^OPENAI_API_KEY=//p' {shlex.quote(file)})"
    body = {
        "model": settings.models[0].id,
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 20,
    }
    return [
        *lines,
        "",
        f"  curl {url}/v1/chat/completions \\",
        f'    -H "Authorization: Bearer {token}" \\',
        '    -H "Content-Type: application/json" \\',
        f"    -d {shlex.quote(json.dumps(body))}",
        "",
        "Ctrl-C stops everything.",
        "",
    ]


def _first_link(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None


def _demo_key(file: Path) -> str | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    prefix = "OPENAI_API_KEY="
    return next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), None)


def _shown(path: Path) -> str:
    """Relative where the user stands above it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
