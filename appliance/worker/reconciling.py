"""What the engines of this node metered, for ``billing.proof.reconciliation``; and what it found, in words."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from uuid import UUID

from appliance.metered import tokens_of
from billing.prices.pricing import Tokens
from billing.proof.reconciliation import Difference, Reading
from serving.metering.journal import files_since, read_file
from serving.metering.meter import Meter, rank


async def read_meters(meters: Path, day: date) -> AsyncIterator[list[Reading]]:
    """Every ended meter of requests that began on the day, from all models' journals, a file at a time."""
    start = datetime.combine(day, time(), UTC).timestamp()
    for directory in sorted(path for path in meters.glob("*") if path.is_dir()):
        for file in files_since(directory, start):
            yield await asyncio.to_thread(_readings, file, directory.name)


def _readings(file: Path, model: str) -> list[Reading]:
    return [_reading(meter, model) for meter in read_file(file)]


def _reading(meter: Meter, model: str) -> Reading:
    return Reading(
        UUID(meter.request_id),
        meter.model or model,
        tokens_of(meter),
        rank(meter),
    )


def describe(difference: Difference) -> str:
    """One line, tokens as prompt/cached/completion, with images and seconds of audio where there are any."""

    def tokens(used: Tokens | None) -> str:
        if used is None:
            return "none"
        text = f"{used.prompt}/{used.cached}/{used.completion}"
        text += f" and {used.images} images" if used.images else ""
        return text + (f" and {used.audio_seconds} s of audio" if used.audio_seconds else "")

    owner = "no account" if difference.account_id is None else f"account {difference.account_id}"
    return (
        f"request {difference.request_id} of {difference.model}, {owner}: {difference.what};"
        f" tokens metered {tokens(difference.metered)}, charged {tokens(difference.charged)};"
        f" nano-dollars charged {difference.charged_nanodollars}, moved {difference.moved_nanodollars}"
    )
