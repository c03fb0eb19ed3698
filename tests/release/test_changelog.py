import pytest

from scripts.release.changelog import section
from scripts.release.errors import ReleaseError

NEWS = """# Changelog

## [Unreleased]

## [1.1.0] - 2027-01-02

### Added

- A thing.

## [1.0.0] - 2026-12-01

- The first.
"""


def test_a_section_ends_where_the_next_begins() -> None:
    assert section(NEWS, "1.1.0") == "### Added\n\n- A thing."
    assert section(NEWS, "1.0.0") == "- The first."


@pytest.mark.parametrize(
    ("news", "version", "why"),
    [
        (NEWS, "1.2.0", "says nothing of 1.2.0"),
        (NEWS.replace("- The first.", ""), "1.0.0", "says nothing of 1.0.0"),
        (NEWS.replace(" - 2026-12-01", ""), "1.0.0", "needs the day of its release"),
        (NEWS.replace("[Unreleased]\n", "[Unreleased]\n\n- One more.\n"), "1.1.0", "belongs under"),
    ],
)
def test_what_is_not_told_in_full_is_refused(news: str, version: str, why: str) -> None:
    with pytest.raises(ReleaseError, match=why):
        section(news, version)
