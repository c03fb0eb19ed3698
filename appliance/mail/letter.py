"""A mail as a person reads it: a few sentences and perhaps a link, as text and as HTML."""

from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file, of a media type."""

    name: str
    kind: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Letter:
    """``link`` is what it is called, and its address. ``to`` is another recipient than the one that was queued.

    Who answers it writes to ``reply_to``, if that is given.
    """

    subject: str
    paragraphs: tuple[str, ...]
    link: tuple[str, str] | None = None
    to: str | None = None
    reply_to: str | None = None
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Sender:
    """From whom it comes: a name and an address."""

    name: str
    email: str


def as_message(letter: Letter, sender: Sender, to: str, language: str, now: datetime) -> EmailMessage:
    """Raises ValueError for a header of more than one line: nothing of a stranger's becomes a header."""
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(sender.name, addr_spec=sender.email)
    message["To"] = Address(addr_spec=to)
    if letter.reply_to is not None:
        message["Reply-To"] = Address(addr_spec=letter.reply_to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=sender.email.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    values = {"letter": letter, "sender": sender, "language": language}
    message.set_content(_template("letter.txt").render(values))
    message.add_alternative(_template("letter.html").render(values), subtype="html")
    for attached in letter.attachments:
        kind, _, subkind = attached.kind.partition("/")
        message.add_attachment(attached.content, maintype=kind, subtype=subkind, filename=attached.name)
    message["Content-Language"] = language
    return message


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("appliance.mail"),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
