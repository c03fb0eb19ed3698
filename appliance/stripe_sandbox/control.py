"""What the operator makes happen: the clock moves, a bank disputes, a card fails, a webhook goes astray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from appliance.stripe_sandbox.balance import RATE, SETTLES_IN, rate_now, settles_in
from appliance.stripe_sandbox.cards import DECLINES
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.customers import existing
from appliance.stripe_sandbox.disputes import decide, open_dispute
from appliance.stripe_sandbox.errors import BadParameter
from appliance.stripe_sandbox.params import Need, OneOf, Params, Reader, Schema, currency, flag, read, text, whole
from appliance.stripe_sandbox.refunds import FAIL_NEXT, fail
from appliance.stripe_sandbox.webhooks import Fault
from appliance.stripe_sandbox.world import World

MOST_SECONDS = 10 * 366 * 86_400
SHOWN_DELIVERIES = 50
MOST_RATE = 100_000
Act = Callable[[Sandbox, Params], None]


def _chance(value: Any, name: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise BadParameter(f"Invalid decimal: {value}", param=name) from None
    if not 0 <= number <= 1:
        raise BadParameter("A chance is from 0 to 1.", param=name)
    return number


def clock(sandbox: Sandbox, params: Params) -> None:
    """By ``seconds``, or to an instant in seconds since 1970."""
    now = sandbox.clock.now()
    instant = params.get("to", now + params.get("seconds", 0))
    if not now <= instant <= now + MOST_SECONDS:
        raise BadParameter("The clock moves on, never back, and at most ten years at once.", param="to")
    sandbox.move_clock(instant)


def misbehave(sandbox: Sandbox, params: Params) -> None:
    sandbox.outbox.set_fault(
        Fault(params["fault"]),
        probability=params.get("probability", 0.0),
        count=params.get("count", 0),
        seconds=params.get("seconds", 60),
    )


def trouble(sandbox: Sandbox, params: Params) -> None:
    sandbox.trouble.refuse_next = params.get("refuse_next", 0)
    sandbox.trouble.lose_next = params.get("lose_next", 0)
    sandbox.control(lambda world: world.state.keep(FAIL_NEXT, params.get("fail_refunds", 0)))


def dispute(sandbox: Sandbox, params: Params) -> None:
    sandbox.control(
        lambda world: open_dispute(
            world,
            _charge(world, params),
            reason=params.get("reason", "fraudulent"),
            amount=params.get("amount"),
        )
    )


def decided(sandbox: Sandbox, params: Params) -> None:
    sandbox.control(lambda world: decide(world, params["dispute"], won=params["won"]))


def decline(sandbox: Sandbox, params: Params) -> None:
    """The next ``count`` charges of a customer, whatever the card."""

    def act(world: World) -> None:
        row = existing(world, params["customer"])
        row.update(_decline_next=params["count"], _decline_as=params.get("as", "generic_decline"))
        world.touch(row)

    sandbox.control(act)


def settle(sandbox: Sandbox, params: Params) -> None:
    """In which currency the balance is kept from now on, and how much of it a unit of what is sold in is worth."""

    def act(world: World) -> None:
        world.state.keep(SETTLES_IN, params["currency"])
        world.state.keep(RATE, params["rate"])

    sandbox.control(act)


def fail_refund(sandbox: Sandbox, params: Params) -> None:
    sandbox.control(lambda world: fail(world, params["refund"]))


def resend(sandbox: Sandbox, params: Params) -> None:
    sandbox.control(lambda world: sandbox.outbox.send_again(world.get("event", params["event"]), world.now))


def _rate(value: Any, name: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise BadParameter(f"Invalid decimal: {value}", param=name) from None
    if not 0 < number < MOST_RATE:
        raise BadParameter(f"A rate is above 0 and below {MOST_RATE}.", param=name)
    return number


DECLINE_CODES: Reader = OneOf(*(str(decline) for _, decline, _ in DECLINES.values()))
ACTS: dict[str, tuple[Act, Schema]] = {
    "clock": (clock, {"seconds": whole, "to": whole}),
    "misbehave": (
        misbehave,
        {"fault": Need(OneOf(*Fault)), "count": whole, "probability": _chance, "seconds": whole},
    ),
    "trouble": (trouble, dict.fromkeys(("refuse_next", "lose_next", "fail_refunds"), whole)),
    "dispute": (
        dispute,
        {"charge": text, "payment_intent": text, "reason": text, "amount": whole},
    ),
    "decide": (decided, {"dispute": Need(text), "won": Need(flag)}),
    "decline": (decline, {"customer": Need(text), "count": Need(whole), "as": DECLINE_CODES}),
    "settle": (settle, {"currency": Need(currency), "rate": Need(_rate)}),
    "fail_refund": (fail_refund, {"refund": Need(text)}),
    "resend": (resend, {"event": Need(text)}),
}


def carry_out(sandbox: Sandbox, name: str, sent: Mapping[str, Any]) -> None:
    """``sent`` are a form's fields. Raises StripeError; KeyError if there is no such act."""
    act, schema = ACTS[name]
    act(sandbox, read(schema, sent))


def overview(sandbox: Sandbox) -> dict[str, Any]:
    """What there is, and what is to go wrong."""
    tables = sandbox.state.tables
    return {
        "now": sandbox.clock.now(),
        "ahead_days": int(sandbox.clock.ahead_seconds // 86_400),
        "counts": {kind: len(tables[kind].rows) for kind in sorted(tables) if kind[0] != "_"},
        "chosen": {str(fault): how for fault, how in sandbox.outbox.faults.items()},
        "trouble": {"refuse_next": sandbox.trouble.refuse_next, "lose_next": sandbox.trouble.lose_next},
        "fail_refunds": sandbox.state.values.get(FAIL_NEXT, 0),
        "settles_in": settles_in(sandbox.world),
        "rate": rate_now(sandbox.world) or 1.0,
        "webhook_url": sandbox.settings.webhook_url,
        "log": sandbox.outbox.log(SHOWN_DELIVERIES),
    }


def _charge(world: World, params: Params) -> str:
    if params.get("payment_intent"):
        return str(world.get("payment_intent", params["payment_intent"], "payment_intent")["latest_charge"])
    return str(world.get("charge", params.get("charge"), "charge")["id"])
