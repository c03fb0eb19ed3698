"""``service_tier``: how soon a request is served, where the account's plan has a priority. Pure.

``auto``, which is the default, is all the plan gives; ``default`` and ``flex`` are for work that may wait, so
that it does not stand before the account's own urgent requests. Nobody gets more than the plan gives.
"""

FLEX_STEP = 1


def priority_of(tier: str | None, plan: int) -> int:
    """``plan`` is the account's priority: the higher, the sooner."""
    match tier:
        case "default" | "standard_only":
            return min(plan, 0)
        case "flex":
            return min(plan, 0) - FLEX_STEP
    return plan
