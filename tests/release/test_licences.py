"""Which licences do, and that every locked package has one."""

from pathlib import Path

import pytest

from scripts.release.declared import declared, expression
from scripts.release.licences import Row, check, objection_to, problems, read, updated
from scripts.release.locks import LOCKS, pins

ROOT = Path(__file__).parent.parent.parent


def test_every_locked_package_may_be_used() -> None:
    assert check(ROOT) == []


def test_every_lock_is_read() -> None:
    there = {file.stem for file in (ROOT / "requirements").glob("*.txt")} - {"cpu-overrides", "overrides"}
    assert there == set(LOCKS)
    text = "aiohttp==3.14.5 \\\n --hash=sha256:00\nDocUtils[x]==0.23 ; os_name == 'posix' \\\n --hash=sha256:01\n"
    assert list(pins(text)) == [("aiohttp", "3.14.5"), ("docutils", "0.23")]


@pytest.mark.parametrize(
    ("licence", "note"),
    [
        ("MIT", ""),
        ("MIT AND Apache-2.0 WITH LLVM-exception", ""),
        ("GPL-3.0-only OR BSD-3-Clause", ""),
        ("GPL-2.0-only", "a program of its own, started by nobody"),
        ("LicenseRef-NVIDIA-Proprietary", "NVIDIA's terms"),
    ],
)
def test_what_does(licence: str, note: str) -> None:
    assert objection_to(Row("one", licence, note)) == ""


@pytest.mark.parametrize(
    ("licence", "note", "why"),
    [
        ("AGPL-3.0-only", "we like it", "not among the accepted"),
        ("SSPL-1.0", "we like it", "not among the accepted"),
        ("MIT AND AGPL-3.0-or-later", "", "AGPL-3.0-or-later is not among the accepted"),
        ("GPL-3.0-only", "", "as a note must say"),
        ("GPL-3.0-only", "we like it", "as a note must say"),
        ("LicenseRef-NVIDIA-Proprietary", "", "names the terms"),
        ("LicenseRef-Unheard-Of", "", "not among the accepted"),
        ("Apache", "", "no SPDX expression"),
        ("", "", "no SPDX expression"),
        ("mit", "", "is written 'MIT'"),
        ("(MIT OR AGPL-3.0-only) AND MIT", "", "brackets"),
    ],
)
def test_what_does_not(licence: str, note: str, why: str) -> None:
    assert why in objection_to(Row("one", licence, note))


def test_packages_and_rows_belong_together() -> None:
    rows = [Row("a", "MIT", ""), Row("a", "MIT", ""), Row("gone", "MIT", "")]
    assert list(problems({"a", "new"}, rows, {})) == [
        "new: has no row",
        "gone: is in no lock",
        "a: has more than one row",
    ]


def test_a_version_under_another_licence_is_noticed() -> None:
    rows = [Row("a", "MIT", "")]
    assert not list(problems({"a"}, rows, {"a": {"MIT"}}))
    assert list(problems({"a"}, rows, {"a": {"BUSL-1.1"}})) == ["a: the row has MIT, the package says BUSL-1.1"]
    assert list(problems({"a"}, rows, {"a": set()}))
    noted = [Row("a", "MIT", "by its LICENSE")]
    assert not list(problems({"a"}, noted, {"a": set()}))
    assert not list(problems({"a"}, noted, {"a": {"ISC"}}))
    assert list(problems({"a"}, noted, {"a": {"BUSL-1.1"}}))


def test_what_packages_say_is_read() -> None:
    assert declared("pytest") == {"MIT"}
    assert declared("click") == {"BSD-3-Clause"}
    assert declared("nobody-has-installed-this") is None
    assert [expression(text) for text in ("Apache 2.0", "Apache License, Version 2.0", "BSD")] == [
        "Apache-2.0"
    ] * 2 + [""]


def test_an_update_adds_what_is_clear_and_removes_what_is_gone() -> None:
    rows = [Row("kept", "MIT", "looked at"), Row("gone", "MIT", "")]
    said = {
        "clear": {"ISC"},
        "two": {"BSD-2-Clause", "BSD-3-Clause"},
        "bad": {"AGPL-3.0-only"},
        "silent": set[str](),
    }
    packages = {"kept", "absent", *said}
    assert updated(packages, rows, said) == [Row("kept", "MIT", "looked at"), Row("clear", "ISC", "")]


def test_the_rows_are_in_order() -> None:
    names = [row.package for row in read(ROOT / "requirements/licences.csv")]
    assert names == sorted(names)
