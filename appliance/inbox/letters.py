"""What is told by mail of what was written: to the operator that somebody did, to the owner of a denial."""

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.letters import Site
from appliance.inbox.messages import DENIED, WRITTEN, Message, get_message
from appliance.mail.letter import Letter
from appliance.mail.queue import Mail
from appliance.texts import Say, speaker

KINDS = (WRITTEN, DENIED)


class InboxLetters:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def write(self, connection: AsyncConnection, one: Mail) -> Letter | None:
        """None if the message is gone."""
        found, say = await get_message(connection, one.about or 0), speaker(one.language)
        if found is None:
            return None
        return self._written(found, say) if one.kind == WRITTEN else self._denied(found, say)

    def _written(self, found: Message, say: Say) -> Letter:
        who = f"{found.name}, {found.company}" if found.company else found.name
        service = self._site.name
        subject = say("An appeal") if found.appeal else say("Somebody wrote to {service}", service=service)
        link = (say("Open the inbox"), self._site.url("/console/inbox"))
        return Letter(subject, (f"{who} <{found.email}>:", *found.text.split("\n")), link, reply_to=found.email)

    def _denied(self, found: Message, say: Say) -> Letter:
        sentence = say("Your account at {service} stays closed.", service=self._site.name)
        link = (say("Sign in"), self._site.url("/sign-in"))
        return Letter(say("Your appeal was denied"), (sentence, *(found.answer or "").split("\n")), link)
