"""Whether every locked package may be used, by requirements/licences.csv, which is reviewed: `make licences`.

A row is held against what the package says of itself where it is installed, so that a version under another
licence is noticed. ``--update`` adds rows for packages that say an accepted licence, and removes those of packages
that are gone; what it cannot add, somebody has to look at.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from scripts.release.declared import declared
from scripts.release.locks import locked

FIELDS = ("package", "licence", "note")

ACCEPTED = frozenset({
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CC-BY-4.0", "CNRI-Python", "ISC", "LicenseRef-Repoze", "MIT", "MIT-0", "MIT-CMU", "OFL-1.1", "PSF-2.0",
    "Unlicense", "Zlib", "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0",
})  # fmt: skip
"""Permissive ones, and those that ask no more than that the library can be had and replaced: pip does that."""

PROGRAMS_ONLY = frozenset({"GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later"})
"""Of a program of its own, which is started and never imported; the note then begins with ``A_PROGRAM``."""
A_PROGRAM = "a program of its own"

BY_TERMS = frozenset({"LicenseRef-NVIDIA-Proprietary", "LicenseRef-Intel-Developer-Tools"})
"""Not free: whoever installs it accepts the maker's terms, which the note names."""


@dataclass(frozen=True)
class Row:
    package: str
    licence: str
    note: str


def read(file: Path) -> list[Row]:
    with file.open(newline="") as lines:
        return [Row(row["package"], row["licence"], row["note"]) for row in csv.DictReader(lines)]


def write(file: Path, rows: list[Row]) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows((row.package, row.licence, row.note) for row in sorted(rows, key=lambda row: row.package))


def problems(packages: set[str], rows: list[Row], said: Mapping[str, set[str]]) -> Iterator[str]:
    """One sentence for each. ``said`` has, by package, the licences that what it says of itself can mean.

    A row may differ from that with a note that says why, as long as what the package says would do as well.
    """
    names = [row.package for row in rows]
    for package in sorted(packages - set(names)):
        yield f"{package}: has no row"
    for package in sorted(set(names) - packages):
        yield f"{package}: is in no lock"
    for package in sorted({name for name in names if names.count(name) > 1}):
        yield f"{package}: has more than one row"
    for row in rows:
        objection = objection_to(row)
        if objection:
            yield f"{row.package}: {objection}"
        elif row.package in said and row.licence not in said[row.package]:
            told = said[row.package]
            if not row.note or any(objection_to(Row(row.package, licence, row.note)) for licence in told):
                says = " or ".join(sorted(told)) or "nothing that is understood"
                yield f"{row.package}: the row has {row.licence}, the package says {says}"


def objection_to(row: Row) -> str:
    """Why this licence does not do; empty if it does. Of alternatives one is enough."""
    try:
        canonical = canonicalize_license_expression(row.licence)
    except InvalidLicenseExpression:
        return f"{row.licence!r} is no SPDX expression"
    if canonical != row.licence:
        return f"{row.licence!r} is written {canonical!r}"
    if "(" in row.licence:
        return f"{row.licence!r} has brackets, which are not read here"
    alternatives = [[of_one(one, row.note) for one in every.split(" AND ")] for every in row.licence.split(" OR ")]
    return min((next(filter(None, found), "") for found in alternatives), key=bool)


def of_one(licence: str, note: str) -> str:
    if licence in ACCEPTED:
        return ""
    if licence in PROGRAMS_ONLY:
        return "" if note.startswith(A_PROGRAM) else f"{licence} is for what is {A_PROGRAM}, as a note must say"
    if licence in BY_TERMS:
        return "" if note else f"{licence} needs a note that names the terms"
    return f"{licence} is not among the accepted licences"


def updated(packages: set[str], rows: list[Row], said: Mapping[str, set[str]]) -> list[Row]:
    """Without what is gone, and with what is new and says one accepted licence."""
    kept = [row for row in rows if row.package in packages]
    new = packages - {row.package for row in kept}
    found = [Row(package, next(iter(said[package])), "") for package in new if len(said.get(package, ())) == 1]
    return [*kept, *(row for row in found if not objection_to(row))]


def check(root: Path, update: bool = False) -> list[str]:
    """The problems of a work tree."""
    requirements = root / "requirements"
    file = requirements / "licences.csv"
    packages = {one.name for one in locked(requirements)}
    said = {package: told for package in packages if (told := declared(package)) is not None}
    rows = read(file)
    if update:
        rows = updated(packages, rows, said)
        write(file, rows)
    return list(problems(packages, rows, said))


def main(arguments: list[str]) -> int:
    found = check(Path.cwd(), "--update" in arguments)
    for problem in found:
        print(f"licences: {problem}", file=sys.stderr)
    if not found:
        print("licences: every locked package has one that may be used")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
