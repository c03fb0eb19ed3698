"""What a request costs, and how many tokens a customer can afford. Pure."""

import msgspec

from billing.prices.money import PICODOLLARS_PER_NANODOLLAR, round_to_nanodollars


class Rate(msgspec.Struct, frozen=True, gc=False):
    """One version of a model's prices.

    ``input``, ``cached_input`` and ``output`` are micro-dollars per million tokens (= pico-dollars per token);
    ``request``, ``image`` and ``audio_second`` nano-dollars for each.
    """

    id: int
    input: int
    cached_input: int
    output: int
    request: int = 0
    image: int = 0
    audio_second: int = 0

    def __post_init__(self) -> None:
        if self.input < 0 or self.cached_input < 0 or self.output < 0:
            raise ValueError("a rate cannot be negative")
        if self.request < 0 or self.image < 0 or self.audio_second < 0:
            raise ValueError("a rate cannot be negative")

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cached_input)


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What a request used. ``cached`` is the part of ``prompt`` that came from the prefix cache."""

    prompt: int
    cached: int
    completion: int
    images: int = 0
    audio_seconds: int = 0

    def __post_init__(self) -> None:
        if self.prompt < 0 or self.completion < 0 or not 0 <= self.cached <= self.prompt:
            raise ValueError("token counts must satisfy 0 <= cached <= prompt and 0 <= completion")
        if self.images < 0 or self.audio_seconds < 0:
            raise ValueError("counts cannot be negative")

    @property
    def any(self) -> bool:
        return bool(self.prompt or self.completion or self.images or self.audio_seconds)


def cost(rate: Rate, tokens: Tokens) -> int:
    """Nano-dollars, rounded once. A request that used nothing costs nothing."""
    if not tokens.any:
        return 0
    return round_to_nanodollars(
        (tokens.prompt - tokens.cached) * rate.input
        + tokens.cached * rate.cached_input
        + tokens.completion * rate.output
        + _beside_tokens(rate, tokens.images, tokens.audio_seconds)
    )


def worst_cost(
    rate: Rate, prompt_limit: int, completion_limit: int, images: int = 0, audio_seconds: int = 0
) -> int:
    """Nano-dollars that no request within the limits can exceed: what is held for it."""
    return round_to_nanodollars(
        prompt_limit * rate.dearest_input
        + completion_limit * rate.output
        + _beside_tokens(rate, images, audio_seconds)
    )


def affordable_completion(
    rate: Rate, available: int, prompt_limit: int, sequences: int, images: int = 0, audio_seconds: int = 0
) -> int | None:
    """Most output tokens per sequence that ``available`` nano-dollars pay behind the prompt.

    None means without limit (the output is free); a negative number that the prompt alone is too dear.
    """
    rest = (
        available * PICODOLLARS_PER_NANODOLLAR
        - prompt_limit * rate.dearest_input
        - _beside_tokens(rate, images, audio_seconds)
    )
    if rest < 0:
        return -1
    if rate.output == 0:
        return None
    return rest // (rate.output * sequences)


def _beside_tokens(rate: Rate, images: int, audio_seconds: int) -> int:
    """Pico-dollars."""
    nanodollars = rate.request + images * rate.image + audio_seconds * rate.audio_second
    return nanodollars * PICODOLLARS_PER_NANODOLLAR
