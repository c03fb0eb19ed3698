"""An email address as it is written to, and as it is compared."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from appliance.identity.errors import InvalidEmail

CHARACTERS = 254
"""RFC 5321, 4.5.3.1.3."""


@dataclass(frozen=True, slots=True)
class Email:
    """``address`` is what mail is sent to; whoever types it in other letters, small or large, means the same.

    Both are ASCII, the domain as it is asked for in DNS (IDNA). Letters that look alike or fold into one another
    ("ß" and "ss") are of different domains, and stay so.
    """

    address: str
    key: str


def parse_email(text: str) -> Email:
    """Raises InvalidEmail. Nobody is asked over the network whether it exists: the mail to it will tell."""
    text = text.strip()
    if len(text) > CHARACTERS:
        raise _too_long()
    try:
        found = validate_email(text, check_deliverability=False, allow_smtputf8=False)
    except (EmailNotValidError, UnicodeError):
        raise InvalidEmail("Please give an email address, such as name@example.com.") from None
    address = found.ascii_email
    if address is None or len(address) > CHARACTERS:
        raise _too_long()
    return Email(address, address.lower())


def compared(text: str) -> str:
    """What somebody types at the door, as emails are compared. What can be none is like one that nobody has."""
    try:
        return parse_email(text).key
    except InvalidEmail:
        return ""


def _too_long() -> InvalidEmail:
    return InvalidEmail("An email address has {most} characters at most.", most=CHARACTERS)
