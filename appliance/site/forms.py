"""What was filled in: texts by the names of their fields, never a file."""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request
from starlette.requests import ClientDisconnect

MOST_FIELDS = 40
BODY_SECONDS = 10.0
"""Until a form is complete; a page that waits for one longer would keep a place from others."""
MOST_DIGITS = 18
_LOCAL = re.compile(r"/[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*(?:\?(?:link|request)=[A-Za-z0-9_-]+)?")


class BadForm(Exception):
    """It is none that a page of ours has sent."""


async def read_form(request: Request) -> Mapping[str, str]:
    """The last text of each name; an absent one is empty. Raises BadForm."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadForm
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.body()
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except (ValueError, TimeoutError, ClientDisconnect):
        raise BadForm from None
    if any("\0" in text for _, text in fields):
        raise BadForm
    return Fields(fields)


class Fields(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


def proof(form: Mapping[str, str]) -> str:
    """The second factor as it was given: what a passkey signed, or a code."""
    return form["passkey"] or form["code"]


def local(path: str) -> str | None:
    """A path of this site, perhaps with the token of a mail's link, or with what the chat asked: nobody is sent to
    another site by a link.
    """
    return path if _LOCAL.fullmatch(path) else None


def number(text: str) -> int | None:
    """The id of a row, if it can be one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def uuid_of(text: str) -> UUID:
    """Raises BadForm."""
    try:
        return UUID(text)
    except ValueError:
        raise BadForm from None
