"""What is told to a person about their account, by mail, when the mail's turn comes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from babel import Locale
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import arrivals, credentials, inviting, joining, proofs, second
from appliance.identity.places import Places
from appliance.identity.tables import applicant, person
from appliance.mail.letter import Letter
from appliance.mail.queue import Mail
from appliance.texts import Say, known, locale_of, speaker
from billing.clock import Clock

KEY_MADE = "key made"
"""The kind of mail; it is about the account."""
BEYOND_A_PASSWORD = (credentials.EMAIL_CHANGED, second.SECOND_FACTOR_ON, second.PASSKEY_ADDED)
"""What the owner of the old address, or of the password, cannot take back alone."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the service calls itself, and where its pages are, without a slash at the end."""

    name: str
    address: str

    def url(self, path: str, **query: str) -> str:
        return f"{self.address}{path}" + (f"?{urlencode(query)}" if query else "")


class Letters:
    def __init__(self, site: Site, places: Places, clock: Clock) -> None:
        self._site = site
        self._places = places
        self._clock = clock
        self._kinds: Mapping[str, Callable[[AsyncConnection, Mail, Say], Awaitable[Letter | None]]] = {
            joining.CONFIRM_EMAIL: self._confirm_email,
            inviting.INVITED: self._invited,
            credentials.RESET_PASSWORD: self._reset_password,
            credentials.CONFIRM_CHANGE: self._confirm_change,
            arrivals.NEW_DEVICE: self._arrived,
            arrivals.NEW_COUNTRY: self._arrived,
        }

    async def write(self, connection: AsyncConnection, one: Mail) -> Letter | None:
        """None if there is nothing to say any more. Raises KeyError for a kind that nobody writes."""
        say = speaker(one.language)
        if (kind := self._kinds.get(one.kind)) is not None:
            return await kind(connection, one, say)
        return self._news(one.kind, say)

    async def _confirm_email(self, connection: AsyncConnection, one: Mail, say: Say) -> Letter | None:
        service, about = self._site.name, one.about or 0
        link = await joining.new_link(connection, about, self._clock())
        if link is not None:
            return Letter(
                say("Confirm your email address"),
                (
                    say(
                        "Welcome to {service}. Please confirm within a day that this address is yours.",
                        service=service,
                    ),
                    say("If you did not sign up, do nothing: there is no account then."),
                ),
                (say("Confirm"), self._site.url("/confirm", link=link)),
            )
        owner = select(person.c.email).join(applicant, applicant.c.email_key == person.c.email_key)
        to = (await connection.execute(owner.where(applicant.c.id == about))).scalar_one_or_none()
        if to is None:
            return None
        return Letter(
            say("You have an account already"),
            (
                say(
                    "Somebody signed up at {service} with this address, which has an account already.",
                    service=service,
                ),
                say("If it was you, please sign in. If you forgot the password, you can choose a new one there."),
                say("If it was not you, do nothing: nothing was changed."),
            ),
            (say("Sign in"), self._site.url("/sign-in")),
            to,
        )

    async def _invited(self, connection: AsyncConnection, one: Mail, say: Say) -> Letter | None:
        link = await inviting.new_link(connection, one.about or 0, self._clock())
        if link is None:
            return None
        return Letter(
            say("You are invited to {service}", service=self._site.name),
            (say("With this link you can sign up, with this address and within 14 days."),),
            (say("Sign up"), self._site.url("/sign-up", link=link)),
        )

    async def _reset_password(self, connection: AsyncConnection, one: Mail, say: Say) -> Letter | None:
        found = await credentials.new_reset_link(connection, one.email, self._clock())
        if found is None:
            return None
        link, to = found
        return Letter(
            say("Choose a new password"),
            (
                say("A new password was asked for, for your account at {service}.", service=self._site.name),
                say("The link is good for an hour, and once. It ends all your sessions."),
                say("If it was not you, do nothing: your password stays."),
            ),
            (say("Choose a new password"), self._site.url("/reset", link=link)),
            to,
        )

    async def _confirm_change(self, connection: AsyncConnection, one: Mail, say: Say) -> Letter | None:
        link = await credentials.new_email_link(connection, one.about or 0, one.email, self._clock())
        if link is None:
            return None
        return Letter(
            say("Confirm your new email address"),
            (
                say("This is to be the new address of an account at {service}.", service=self._site.name),
                say("Please confirm it within a day, in a browser in which you are signed in."),
                say("If it was not you, do nothing: the account keeps its address."),
            ),
            (say("Confirm"), self._site.url("/account/email", link=link)),
        )

    async def _arrived(self, connection: AsyncConnection, one: Mail, say: Say) -> Letter:
        service = self._site.name
        subject, sentence = {
            arrivals.NEW_DEVICE: (
                say("A new browser signed in"),
                say(
                    "Somebody signed in to your account at {service} in a browser that it did not know.",
                    service=service,
                ),
            ),
            arrivals.NEW_COUNTRY: (
                say("A sign-in from another country"),
                say(
                    "Somebody signed in to your account at {service} from another country than before.",
                    service=service,
                ),
            ),
        }[one.kind]
        where = await arrivals.country_of(connection, self._places, one.about or 0)
        country = Locale.parse(locale_of(known(one.language))).territories.get(where, where)
        told = (say("It came from {country}.", country=country),) if where else ()
        return self._with_alarm(one.kind, say, subject, sentence, *told)

    def _news(self, kind: str, say: Say) -> Letter:
        service = self._site.name
        texts = {
            KEY_MADE: (
                say("An API key was made"),
                say("Your account at {service} has a new API key.", service=service),
            ),
            credentials.PASSWORD_CHANGED: (
                say("Your password was changed"),
                say("The password of your account at {service} was changed.", service=service),
            ),
            credentials.EMAIL_CHANGE_ASKED: (
                say("Another email address was asked for"),
                say("Your account at {service} is to have another email address.", service=service),
            ),
            credentials.EMAIL_CHANGED: (
                say("Your email address was changed"),
                say(
                    "Your account at {service} has another email address now: this one is no longer used.",
                    service=service,
                ),
            ),
            second.SECOND_FACTOR_ON: (
                say("Your authenticator is on"),
                say("To sign in at {service} now takes a code from your authenticator too.", service=service),
            ),
            second.SECOND_FACTOR_OFF: (
                say("Your authenticator is off"),
                say("To sign in at {service} no longer takes a code from your authenticator.", service=service),
            ),
            second.PASSKEY_ADDED: (
                say("A passkey was added"),
                say(
                    "Your account at {service} has a new passkey. Whoever has it can sign in without a password.",
                    service=service,
                ),
            ),
            second.PASSKEY_REMOVED: (
                say("A passkey was removed"),
                say("Your account at {service} has one passkey less.", service=service),
            ),
            proofs.RECOVERY_CODE_USED: (
                say("A recovery code was used"),
                say(
                    "Somebody signed in at {service} by one of your recovery codes. It is used up.",
                    service=service,
                ),
            ),
        }
        return self._with_alarm(kind, say, *texts[kind])

    def _with_alarm(self, kind: str, say: Say, subject: str, *sentences: str) -> Letter:
        if kind in BEYOND_A_PASSWORD:
            alarm, link = say("If it was not you, please write to us at once."), (say("Write to us"), "/contact")
        else:
            alarm = say("If it was not you, choose a new password at once: that ends every session.")
            link = (say("Choose a new password"), "/forgot")
        return Letter(subject, (*sentences, alarm), (link[0], self._site.url(link[1])))
