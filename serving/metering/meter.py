"""What a request used, counted in the replica. No content ever comes here: only tokens' numbers.

A request has prompts; each prompt is answered by one sequence or by several (``n``). The engine keeps each
sequence's state; a meter reads those states and never counts chunks, so that it costs nothing while an answer
is written, and is exact for an answer that was cut off.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal, Protocol

import msgspec

Ended = Literal["complete", "cancelled", "failed", "refused", "died"]
"""``died`` is what the caller of a replica noted that was killed: what certainly came of the answer."""
Refused = Literal["prompt-limit", "sequences", "images", "audio"]
KEEP_SECONDS = 6 * 3600
KEEP_METERS = 200_000
SEEN = ("complete", "died")
"""Ends after which the caller had the answer, or the beginning of it, so that no other attempt counts."""

logger = logging.getLogger(__name__)


class Meter(msgspec.Struct, frozen=True):
    """Tokens of one request; ``ended`` is None while it runs.

    ``cached_tokens`` are those of the ``prompt_tokens`` that the prefix cache already held. A prompt, with its
    images, counts once the engine has read it, so a request that left the queue before is free. ``model`` is
    what was asked for, "" if it was not said.
    """

    request_id: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    ended: Ended | None = None
    images: int = 0
    audio_seconds: int = 0
    model: str = ""

    def document(self) -> dict[str, object]:
        """The meter as it rides behind an answer."""
        return {field: getattr(self, field) for field in self.__struct_fields__ if field != "request_id"}


def decisive(meters: Iterable[Meter]) -> Meter | None:
    """Of the attempts at one request, the one that counts: one that runs, else the one that its caller has whole.

    Of attempts that broke off, the one with the most tokens; a refusal says nothing if another replica began.
    """
    return max(meters, key=rank, default=None)


def rank(meter: Meter) -> int:
    """Higher is more decisive."""
    state = 4 * (meter.ended is None) + 2 * (meter.ended in SEEN) + (meter.ended != "refused")
    return (state << 48) + meter.prompt_tokens + meter.completion_tokens + meter.audio_seconds


class Sequence(Protocol):
    """The engine's state of one answer to one prompt, live. ``prompt`` is the same for all answers to it."""

    @property
    def id(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def prefilled(self) -> bool: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def given_up(self) -> bool:
        """Whether the engine could not go on with it."""
        ...


class Limits(msgspec.Struct, frozen=True):
    """What the gateway decided for a request; None is no limit.

    ``model`` is what was asked for: an adapter is served by its base's replicas.
    ``prompt_tokens`` and ``images`` hold for the sum of all prompts, ``completion_tokens`` for each sequence.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    sequences: int | None = None
    images: int | None = None
    audio_seconds: int | None = None
    model: str = ""
    salt: str = ""
    priority: int = 0


class Recording(msgspec.Struct, frozen=True):
    """``length`` in seconds; the engine hears it in so many ``parts``."""

    length: float
    parts: int

    @property
    def seconds(self) -> int:
        """As OpenAI counts them, and as ``usage`` shows them: begun seconds are whole ones."""
        return math.ceil(self.length)

    def heard_seconds(self, parts: int) -> int:
        """Of an answer that was cut off, the parts that the engine had heard."""
        return math.ceil(self.length * min(parts, self.parts) / self.parts) if self.parts else 0


class Rejection(msgspec.Struct, frozen=True):
    """What the engine has against a request; ``param`` is the field."""

    message: str
    param: str | None = None


class Request:
    """A request under way, or one whose prompts are only to be counted.

    ``recording`` is there once a recording was decoded: its request is measured in seconds, not in tokens.
    """

    def __init__(self, request_id: str, limits: Limits, *, count_only: bool = False) -> None:
        self.id = request_id
        self.limits = limits
        self.count_only = count_only
        self.asked_prompt_tokens = 0
        self.asked_sequences = 0
        self.asked_images = 0
        self.is_bound = False
        """Whether ``asked_prompt_tokens`` are only the most that it may be."""
        self.recording: Recording | None = None
        self.refused: Refused | None = None
        self.rejection: Rejection | None = None
        self.grammar_bytes: int | None = None
        """Of what its answers are bound to, which the engine compiles once it took the request; 0 if nothing.
        None until the first prompt is known."""
        self.broken = False
        """Whether whoever answers it has failed in the middle."""
        self.sequences: list[Sequence] = []
        self.withheld_tokens = 0
        """The most that are counted but not shown yet, since they may begin a stop string."""
        self.sent_bytes = 0
        """Of the body of its answer, if that is streamed."""
        self._prompts = 0
        self._given_tokens = 0
        self._given_at = 0
        self._told = (0, 0)

    def give(self, tokens: int) -> None:
        """So many go to whoever writes the streamed answer."""
        self._given_tokens += tokens
        self._given_at = self.sent_bytes

    def asked_for_more(self) -> None:
        """What it made of those is sent; if that was nothing, they count when it makes something of the next."""
        if self.sent_bytes > self._given_at:
            self._told = (self._given_tokens, self.sent_bytes)

    def delivered(self) -> tuple[int, Meter] | None:
        """How many bytes of the answer were sent, and what these took: never more. None while that is not certain.

        It never is for several prompts, which are read ahead of what is sent, nor for a recording.
        """
        tokens, answer_bytes = self._told
        tokens -= self.withheld_tokens
        if tokens <= 0 or self._prompts != 1 or self.recording is not None:
            return None
        return answer_bytes, msgspec.structs.replace(self.totals(), completion_tokens=tokens)

    def ask(self, prompt_tokens: int, sequences: int, images: int = 0) -> None:
        """One more prompt, before it is handed to the engine; sets ``refused`` if a limit is passed."""
        self._prompts += 1
        self.asked_prompt_tokens += prompt_tokens
        self.asked_sequences += sequences
        self.asked_images += images
        if _beyond(self.asked_prompt_tokens, self.limits.prompt_tokens):
            self.refused = "prompt-limit"
        elif _beyond(self.asked_sequences, self.limits.sequences):
            self.refused = "sequences"
        elif _beyond(self.asked_images, self.limits.images):
            self.refused = "images"

    def listen(self, recording: Recording) -> None:
        """What was sent is a recording; sets ``refused`` if it is longer than was held for."""
        self.recording = recording
        if _beyond(recording.seconds, self.limits.audio_seconds):
            self.refused = "audio"

    @property
    def has_grammar(self) -> bool:
        return bool(self.grammar_bytes)

    @property
    def asked(self) -> bool:
        """Whether it came as far as the engine."""
        return bool(self.asked_sequences or self.recording)

    def count(self) -> dict[str, int | bool]:
        """What was asked: the numbers behind the limits, exact unless ``is_bound``."""
        return {
            "prompt_tokens": self.asked_prompt_tokens,
            "images": self.asked_images,
            "audio_seconds": self.recording.seconds if self.recording else 0,
            **({"is_bound": True} if self.is_bound else {}),
        }

    def totals(self, ended: Ended | None = None) -> Meter:
        """The count at this moment."""
        if self.recording is not None:
            heard = sum(sequence.prefilled for sequence in self.sequences)
            seconds = self.recording.heard_seconds(heard)
            return Meter(request_id=self.id, audio_seconds=seconds, ended=ended, model=self.limits.model)
        prompts: dict[str, tuple[int, int, int]] = {}
        for sequence in self.sequences:
            if not sequence.prefilled:
                continue
            # The siblings of the first sequence find its prompt in the cache; that is no saving of the caller's.
            _, cached, _ = prompts.get(sequence.prompt, (0, sequence.prompt_tokens, 0))
            prompts[sequence.prompt] = (
                sequence.prompt_tokens,
                min(cached, sequence.cached_tokens),
                sequence.images,
            )
        return Meter(
            request_id=self.id,
            prompt_tokens=sum(tokens for tokens, _, _ in prompts.values()),
            cached_tokens=sum(cached for _, cached, _ in prompts.values()),
            completion_tokens=sum(sequence.completion_tokens for sequence in self.sequences),
            images=sum(images for _, _, images in prompts.values()),
            ended=ended,
            model=self.limits.model,
        )

    @property
    def waiting(self) -> bool:
        """Whether the engine has not begun with any of its prompts."""
        return not any(sequence.prefilled for sequence in self.sequences)


def _beyond(asked: int, limit: int | None) -> bool:
    return limit is not None and asked > limit


class Journal(Protocol):
    """Where ended meters outlive their replica."""

    def append(self, meter: Meter) -> None:
        """Raises OSError."""
        ...

    def find(self, request_id: str) -> Meter | None: ...


class MeterBook:
    """All requests of a replica: those running, and those that ended within the last hours."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._clock = clock
        self._running: dict[str, Request] = {}
        self._ended: OrderedDict[str, tuple[float, Meter]] = OrderedDict()
        self._ends: dict[str, asyncio.Event] = {}
        self.begun = 0
        """Requests ever."""
        self._written = 0

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return sum(request.waiting for request in self._running.values())

    @property
    def written(self) -> int:
        """Tokens ever, those of running answers too."""
        running = (sequence for request in self._running.values() for sequence in request.sequences)
        return self._written + sum(sequence.completion_tokens for sequence in running)

    def running(self) -> list[Request]:
        return list(self._running.values())

    @property
    def at_work(self) -> bool:
        """Whether the engine has anything to do."""
        return any(request.sequences for request in self._running.values())

    def done(self) -> tuple[int, int]:
        """Changes with every prompt that is read and every token that is written."""
        running = [sequence for request in self._running.values() for sequence in request.sequences]
        return self.begun, sum(sequence.prefilled + sequence.completion_tokens for sequence in running)

    def begin(self, request_id: str, limits: Limits) -> Request | None:
        """None if this request runs already, or used tokens already: no request is charged twice."""
        earlier = self._ended.get(request_id)
        if request_id in self._running or (earlier is not None and earlier[1].ended != "refused"):
            return None
        self.begun += 1
        request = self._running[request_id] = Request(request_id, limits)
        return request

    def end(self, request: Request, ended: Ended) -> Meter:
        """The final count; kept here and in the journal. A journal that cannot be written spoils no answer.

        What is refused costs nothing, though the engine may have begun with another one of its prompts.
        """
        del self._running[request.id]
        self._written += sum(sequence.completion_tokens for sequence in request.sequences)
        meter = request.totals(ended) if ended != "refused" else Request(request.id, request.limits).totals(ended)
        self._ended[request.id] = (self._clock(), meter)
        self._ended.move_to_end(request.id)
        self._forget()
        try:
            self._journal.append(meter)
        except OSError as error:
            logger.error("a meter is not in the journal: %s", errno.errorcode.get(error.errno or 0, "unknown"))
        if (event := self._ends.pop(request.id, None)) is not None:
            event.set()
        return meter

    def _forget(self) -> None:
        oldest = self._clock() - KEEP_SECONDS
        while self._ended:
            at, _ = next(iter(self._ended.values()))
            if at >= oldest and len(self._ended) <= KEEP_METERS:
                return
            self._ended.popitem(last=False)

    async def find(self, request_id: str, wait_seconds: float) -> Meter | None:
        """The request's meter, waiting for its end at most so long. None if it is not known here."""
        if wait_seconds > 0 and request_id in self._running:
            event = self._ends.setdefault(request_id, asyncio.Event())
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), wait_seconds)
        if (request := self._running.get(request_id)) is not None:
            return request.totals()
        if (ended := self._ended.get(request_id)) is not None:
            return ended[1]
        return await asyncio.to_thread(self._journal.find, request_id)
