"""What CHANGELOG.md says of a version."""

import re

from scripts.release.errors import ReleaseError

HEADING = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<day>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def section(text: str, version: str) -> str:
    """The text below the version's heading.

    Raises:
        ReleaseError: the version has no section, or one without a day or a text, or something stands under
            Unreleased that would be published without being told.
    """
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    bodies = {
        heading["name"]: text[heading.end() : end].strip() for heading, end in zip(headings, ends, strict=True)
    }
    days = {heading["name"]: heading["day"] for heading in headings}
    if bodies.get("Unreleased"):
        raise ReleaseError(f"CHANGELOG.md: what is under Unreleased belongs under [{version}]")
    if not bodies.get(version):
        raise ReleaseError(f"CHANGELOG.md says nothing of {version}")
    if not days[version]:
        raise ReleaseError(
            f"CHANGELOG.md: [{version}] needs the day of its release, as in ## [{version}] - 2026-11-30"
        )
    return bodies[version]
