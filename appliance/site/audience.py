"""Who may call a page. Pure: the decision, and where whoever may not is sent instead."""

from enum import Enum

from appliance.identity.sessions import Signed


class Audience(Enum):
    ANYBODY = "anybody"
    HALF = "whoever has given a password, and is still to give the second factor"
    SETTING_UP = "whoever is signed in, also an operator who has no second factor yet"
    PERSON = "whoever is signed in, whatever the standing of the account"
    CUSTOMER = "whoever is signed in, with an account in good standing"
    OPERATOR = "the operator, by a second factor"


class Refusal(Enum):
    """Its value is the page to go to; there is none for what is not to be known to exist."""

    SIGN_IN = "/sign-in"
    SECOND_FACTOR = "/second-factor"
    IS_IN = "/dashboard"
    STANDING = "/standing"
    SET_UP_SECOND_FACTOR = "/account/second-factor"
    TERMS = "/terms/accept"
    NOTHING_HERE = ""


def refusal(audience: Audience, signed: Signed | None, terms: str) -> Refusal | None:
    """Why somebody may not call it; None if they may. ``terms`` is the version of now, an ISO date."""
    if audience is Audience.ANYBODY:
        return None
    if signed is None:
        return Refusal.NOTHING_HERE if audience is Audience.OPERATOR else Refusal.SIGN_IN
    if signed.incomplete or audience is Audience.HALF:
        return _of_half(audience, signed)
    if audience is Audience.SETTING_UP:
        return None
    if audience is Audience.OPERATOR and signed.role != "operator":
        return Refusal.NOTHING_HERE
    if signed.role == "operator" and not signed.second:
        return Refusal.SET_UP_SECOND_FACTOR
    return None if audience is Audience.PERSON else _of_customer(signed, terms)


def _of_customer(signed: Signed, terms: str) -> Refusal | None:
    if signed.status != "active":
        return Refusal.STANDING
    return Refusal.TERMS if signed.role == "customer" and (signed.accepted or "") < terms else None


def _of_half(audience: Audience, signed: Signed) -> Refusal | None:
    if audience is not Audience.HALF:
        return Refusal.SECOND_FACTOR
    return None if signed.incomplete else Refusal.IS_IN
