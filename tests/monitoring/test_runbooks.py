"""Whoever is called in the night finds a page, and on it what to do."""

from __future__ import annotations

import re

import pytest

from tests.monitoring.reading import ROOT, Rule, alerts

BOOKS = ROOT / "docs/runbooks"
INDEX = (BOOKS / "README.md").read_text()


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    names = {rule.name for rule in alerts()} | {"Watchdog"}
    assert {file.stem for file in BOOKS.glob("*.md")} - {"README"} == names
    assert set(re.findall(r"^\| \[\w+\]\((\w+)\.md\)", INDEX, re.MULTILINE)) == names


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.name)
def test_the_page_says_what_it_means_how_to_look_and_what_to_do(rule: Rule) -> None:
    name = rule.name
    page = (BOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    parts = re.split(r"\*\*(To customers:|Look|Do)\*\*", page)
    assert parts[1::2] == ["To customers:", "Look", "Do"]
    assert all(part.strip() for part in parts)
