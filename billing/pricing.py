"""What tokens cost, and how many a customer can afford. Pure."""

from dataclasses import dataclass

from billing.money import PICODOLLARS_PER_NANODOLLAR, round_to_nanodollars


@dataclass(frozen=True, slots=True)
class Rate:
    """One version of a model's prices, in micro-dollars per million tokens (= pico-dollars per token)."""

    id: int
    input: int
    cached_input: int
    output: int

    def __post_init__(self) -> None:
        if min(self.input, self.cached_input, self.output) < 0:
            raise ValueError("a rate cannot be negative")

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cached_input)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a request used. ``cached`` is the part of ``prompt`` that came from the prefix cache."""

    prompt: int
    cached: int
    completion: int

    def __post_init__(self) -> None:
        if self.prompt < 0 or self.completion < 0 or not 0 <= self.cached <= self.prompt:
            raise ValueError("token counts must satisfy 0 <= cached <= prompt and 0 <= completion")


def cost(rate: Rate, tokens: Tokens) -> int:
    """Nano-dollars, rounded once."""
    return round_to_nanodollars(
        (tokens.prompt - tokens.cached) * rate.input
        + tokens.cached * rate.cached_input
        + tokens.completion * rate.output
    )


def worst_cost(rate: Rate, prompt_limit: int, completion_limit: int) -> int:
    """Nano-dollars that no request within the limits can exceed: what is held for it."""
    return round_to_nanodollars(prompt_limit * rate.dearest_input + completion_limit * rate.output)


def affordable_completion(rate: Rate, available: int, prompt_limit: int, sequences: int) -> int | None:
    """Most output tokens per sequence that ``available`` nano-dollars pay behind the prompt.

    None means without limit (the output is free); a negative number that the prompt alone is too dear.
    """
    rest = available * PICODOLLARS_PER_NANODOLLAR - prompt_limit * rate.dearest_input
    if rest < 0:
        return -1
    if rate.output == 0:
        return None
    return rest // (rate.output * sequences)
