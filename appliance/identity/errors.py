"""Why somebody is not let in. The texts are for the person; none of them tells whether an account exists."""


class IdentityError(Exception):
    """Carries a sentence for the person."""


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
    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("That was tried too often. Please wait a little.")
        self.retry_after_seconds = retry_after_seconds
