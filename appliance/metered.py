"""What ``serving`` metered as ``billing`` charges it."""

from pathlib import Path
from uuid import UUID

from billing.charging.settlement import Ended, Metered
from billing.prices.pricing import Tokens
from serving.metering.journal import read_journal
from serving.metering.meter import Meter, decisive


def tokens_of(meter: Meter) -> Tokens:
    return Tokens(
        meter.prompt_tokens, meter.cached_tokens, meter.completion_tokens, meter.images, meter.audio_seconds
    )


def as_metered(request_id: UUID, account_id: int, meter: Meter | None) -> Metered:
    """None is a request that no replica knows: it used nothing."""
    if meter is None or meter.ended is None:
        return Metered(request_id, account_id, Tokens(0, 0, 0), Ended.LOST)
    ended = Ended.FAILED if meter.ended == "died" else Ended(meter.ended)
    return Metered(request_id, account_id, tokens_of(meter), ended)


def journalled(meters: Path, request_id: str) -> Meter | None:
    """What a replica of this node that is gone wrote down of the request; an adapter's is its base's."""
    found = (read_journal(directory, request_id) for directory in meters.glob("*"))
    return decisive(meter for meter in found if meter is not None)
