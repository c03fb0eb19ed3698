"""What is told by mail: to the operator that something is on the list; why, to the owner of an account."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.letters import Site
from appliance.mail.letter import Letter
from appliance.mail.queue import Mail
from appliance.review.tables import finding
from appliance.settings import Signal
from appliance.texts import Say, speaker
from billing.database.tables import account

FOUND = "finding"
"""The kind of mail to the operator; it is about the finding."""


def called(say: Say) -> Mapping[Signal, str]:
    """What each signal is, as an operator reads it."""
    return {
        "networks": say("A key is used from many networks"),
        "refused": say("A burst of refused requests"),
        "travel": say("Impossible travel between sign-ins"),
    }


def reasons(say: Say) -> Mapping[Signal, str]:
    """Why an account was suspended, as its owner reads it."""
    return {
        "networks": say("An API key of your account was used from many networks at once, as if it were shared."),
        "refused": say("An API key of your account sent very many requests that were refused."),
        "travel": say("Somebody signed in to your account from places that are too far apart for one person."),
    }


class ReviewLetters:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def write(self, connection: AsyncConnection, one: Mail) -> Letter | None:
        """None if the finding is gone."""
        query = select(finding.c.signal, account.c.name).join(account, account.c.id == finding.c.account_id)
        row = (await connection.execute(query.where(finding.c.id == one.about))).one_or_none()
        if row is None:
            return None
        say = speaker(one.language)
        sentence = say("The account {account} is on the review list.", account=row.name)
        link = say("Open the review list"), self._site.url("/console/review")
        return Letter(called(say)[row.signal], (sentence,), link)
