"""The pages that say which test shows what: every test that they name is there."""

import re
from pathlib import Path

import pytest

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("page", ["docs/terms-kept.md", "docs/asvs.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    named = NAMED.findall(Path(page).read_text())
    assert named
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", Path(file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_every_row_names_one() -> None:
    rows = [line for line in Path("docs/terms-kept.md").read_text().splitlines() if line.startswith('| "')]
    assert len(rows) > 15
    assert all(NAMED.search(row) for row in rows)
