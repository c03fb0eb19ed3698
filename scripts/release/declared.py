"""What an installed package says of its licence, as SPDX has it."""

import re
from importlib.metadata import PackageNotFoundError, distribution

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

CLASSIFIERS = {
    "Apache Software License": {"Apache-2.0"},
    "BSD License": {"0BSD", "BSD-2-Clause", "BSD-3-Clause"},
    "ISC License (ISCL)": {"ISC"},
    "GNU Lesser General Public License v2 (LGPLv2)": {"LGPL-2.1-only"},
    "MIT License": {"MIT"},
    "Mozilla Public License 2.0 (MPL 2.0)": {"MPL-2.0"},
    "Python Software Foundation License": {"PSF-2.0"},
    "The Unlicense (Unlicense)": {"Unlicense"},
}
"""What a classifier may mean."""
SAYS_NOTHING = {"OSI Approved", "DFSG approved"}

FREE_TEXT = {
    r"Apache(-| License,? (Version )?)?( ?2(\.0)?)?( License)?": "Apache-2.0",
    r"(3-Clause BSD|BSD 3-Clause)( License)?": "BSD-3-Clause",
    r"BSD 2-Clause License": "BSD-2-Clause",
    r"MIT license": "MIT",
}
"""What people write instead of an SPDX expression, in whatever case."""


def declared(package: str) -> set[str] | None:
    """What its metadata can mean; empty if nobody can tell, None if it is not installed."""
    try:
        metadata = distribution(package).metadata
    except PackageNotFoundError:
        return None
    for text in [*metadata.get_all("License-Expression", []), *metadata.get_all("License", [])]:
        if licence := expression(text):
            return {licence}
    classifiers = [line.split(" :: ") for line in metadata.get_all("Classifier", [])]
    names = {name for kind, *_, name in classifiers if kind == "License"} - SAYS_NOTHING
    return CLASSIFIERS.get(names.pop(), set()) if len(names) == 1 else set()


def expression(text: str) -> str:
    """SPDX's, of what somebody wrote; empty if it is not clear."""
    for pattern, licence in FREE_TEXT.items():
        if re.fullmatch(pattern, text.strip(), re.IGNORECASE):
            return licence
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return ""
