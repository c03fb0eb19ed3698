"""What can go wrong in billing.

BillingError
├── NotFound             no such account, key or request
├── Conflict             the name is taken, the key is revoked already
├── InvalidName          an account cannot be called that
├── DatabaseUnavailable  PostgreSQL cannot be reached or is restarting; try again
├── HoldExceeded         a request used more than was held for it; never charged beyond the hold
└── LotsShort            an account's lots hold less than its balance says; the books are wrong
"""


class BillingError(Exception):
    """Carries a sentence that may be shown to an operator."""


class NotFound(BillingError):
    pass


class Conflict(BillingError):
    pass


class InvalidName(BillingError):
    pass


class DatabaseUnavailable(BillingError):
    pass


class HoldExceeded(BillingError):
    pass


class LotsShort(BillingError):
    pass
