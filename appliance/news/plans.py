"""What is told of a plan, to whoever has it. A renewal that is paid comes with its receipt."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from babel.dates import format_date

from appliance.identity.letters import Site
from appliance.mail.letter import Letter
from appliance.texts import Say, locale_of
from billing.plans.catalog import in_language

Body = Mapping[str, Any]


class PlanLetters:
    """``kinds`` are the notices that it writes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.kinds: Mapping[str, Callable[[Body, Say, str], Letter]] = {"plan": self._plan}

    def _plan(self, body: Body, say: Say, language: str) -> Letter:
        values = {"plan": in_language(body["names"], language), "service": self._site.name}
        if body["next_names"] is not None:
            values["next"] = in_language(body["next_names"], language)
        if body["until"] is not None:
            day = datetime.fromisoformat(body["until"])
            values["day"] = format_date(day, "long", locale=locale_of(language))
        subject, *sentences = _SAID[body["became"]](say, values, body["reason"])
        return Letter(subject, tuple(sentences), (say("Overview"), self._site.url("/dashboard")))


Values = Mapping[str, str]


def _began(say: Say, values: Values, _: str | None) -> list[str]:
    return [
        say("Your plan has begun"),
        say("You are on the plan {plan} of {service}.", **values),
        say(
            "It renews by itself on {day} (UTC), at the price that you paid now, unless you cancel before.",
            **values,
        ),
    ]


def _upgraded(say: Say, values: Values, _: str | None) -> list[str]:
    return [
        say("Your plan has changed"),
        say("You are on the plan {plan} of {service} now.", **values),
        say("From {day} (UTC) on it costs its full price.", **values),
    ]


def _downgraded(say: Say, values: Values, _: str | None) -> list[str]:
    return [
        say("Your plan has changed"),
        say("You are on the plan {plan} of {service} now.", **values),
        say(
            "It renews by itself on {day} (UTC), at the price that you paid now, unless you cancel before.",
            **values,
        ),
    ]


def _planned(say: Say, values: Values, _: str | None) -> list[str]:
    return [
        say("Your plan will change"),
        say("On {day} (UTC) your plan {plan} of {service} becomes {next}.", **values),
        say("Until then you keep what you paid for, and can take the change back."),
    ]


def _cancelled(say: Say, values: Values, _: str | None) -> list[str]:
    return [
        say("Your plan is cancelled"),
        say("Your plan {plan} of {service} ends on {day} (UTC). You keep it until then.", **values),
        say("Nothing more is charged. Until then you can take the cancellation back."),
    ]


def _unpaid(say: Say, values: Values, _: str | None) -> list[str]:
    return [
        say("Your plan could not be renewed"),
        say("The renewal of your plan {plan} of {service} could not be charged to your card.", **values),
        say("You keep its limits until {day} (UTC). Its allowance comes when the renewal is paid.", **values),
        say("Sign in to pay, or to save another card. It is tried again by itself, too."),
    ]


def _grace_ends(say: Say, values: Values, _: str | None) -> list[str]:
    return [
        say("Your plan ends soon"),
        say("The renewal of your plan {plan} of {service} is still not paid.", **values),
        say("Without a payment it ends on {day} (UTC). Sign in to pay, or to save another card.", **values),
    ]


def _ended(say: Say, values: Values, reason: str | None) -> list[str]:
    why = {
        "not paid": say("The reason: its renewal was not paid."),
        "cancelled": say("You had cancelled it."),
        "by the operator": say("The reason: it was ended by {service}.", **values),
        "the account is closed": say("The reason: the account is closed."),
        "its payment is contested": say("The reason: your bank has taken back what was paid for it."),
    }.get(reason or "", say("The reason: it was ended where it is charged."))
    return [
        say("Your plan has ended"),
        say("Your plan {plan} of {service} has ended.", **values),
        why,
        say("Your account stays, and can use credit that you buy."),
    ]


_SAID: Mapping[str, Callable[[Say, Values, str | None], list[str]]] = {
    "began": _began,
    "upgraded": _upgraded,
    "downgraded": _downgraded,
    "planned": _planned,
    "cancelled": _cancelled,
    "unpaid": _unpaid,
    "grace_ends": _grace_ends,
    "ended": _ended,
}
