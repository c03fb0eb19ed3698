"""What an account may while it is on a plan, and what comes back after it. Pure.

A field that somebody has set while the plan ran is theirs: the plan's end, or a change of plan, leaves it alone.
"""

import msgspec


class Terms(msgspec.Struct, frozen=True):
    """What a plan gives beside its allowance. None leaves what the account has; ``models`` None is all of them.

    ``stops``: when the allowance is used up, nothing is served until the period's end; else credits follow it.
    """

    stops: bool = False
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    priority: int | None = None


class Entitled(msgspec.Struct, frozen=True):
    """What an account has of the fields that a plan changes. None is no limit, and all models."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    priority: int = 0
    models: tuple[str, ...] | None = None


NO_PLAN = Terms()


def on(terms: Terms, before: Entitled) -> Entitled:
    """What the plan makes of an account that had ``before``."""
    named = {field: getattr(terms, field) for field in Entitled.__struct_fields__}
    return msgspec.structs.replace(before, **{field: value for field, value in named.items() if value is not None})


def moved(now: Entitled, before: Entitled, old: Terms, new: Terms) -> Entitled:
    """The account after a change from one plan to another; NO_PLAN is none.

    ``before`` is what it had before its first plan.
    """
    was, becomes = on(old, before), on(new, before)
    changed = {
        field: getattr(becomes, field)
        for field in Entitled.__struct_fields__
        if getattr(now, field) == getattr(was, field)
    }
    return msgspec.structs.replace(now, **changed)
