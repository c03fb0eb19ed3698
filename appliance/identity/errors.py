"""Why somebody is not let in. The texts are for the person; none of them tells whether an account exists."""

from appliance.texts import Say


class IdentityError(Exception):
    """Carries a sentence for the person: ``text``, with its ``values``, is in the catalogues."""

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text.format(**values))
        self.text = text
        self.values = values

    def said(self, say: Say) -> str:
        """In the person's language."""
        return say(self.text, **self.values)


class InvalidEmail(IdentityError):
    pass


class InvalidPersonName(IdentityError):
    pass


class WeakPassword(IdentityError):
    pass


class WrongCredentials(IdentityError):
    """The email or the password is wrong, or there is no such account: nobody is told which."""


class LinkInvalid(IdentityError):
    """It was used, is too old, or never was one."""


class TooManyTries(IdentityError):
    def __init__(self, text: str, retry_after_seconds: float) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds
