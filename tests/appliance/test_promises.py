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


def test_the_counts_of_asvs_are_those_of_its_rows() -> None:
    text = Path("docs/asvs.md").read_text()
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if re.match(r"\| V\d", line)]
    met = [row for row in rows if not row[2].startswith(("not yet", "does not apply"))]
    shown = [row for row in met if NAMED.search(row[3])]
    missing = [row for row in rows if row[2].startswith("not yet")]
    told = re.search(
        r"Of the (\d+) requirements (\d+) are met \((\d+) shown by tests.*?(\d+) do not apply and (\d+) are", text
    )
    assert told is not None
    everything, *counts, absent, open_ones = map(int, told.groups())
    assert [*counts, open_ones] == [len(met), len(shown), len(missing)]
    assert everything == len(met) + absent + len(missing)
