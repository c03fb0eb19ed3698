"""Why there is no release."""


class ReleaseError(Exception):
    """What is wrong, and what to do about it: one sentence for whoever publishes."""
