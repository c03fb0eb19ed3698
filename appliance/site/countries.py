"""The countries that somebody can buy from, in the language of whoever reads."""

import unicodedata
from collections.abc import Sequence
from functools import cache

from babel import Locale

from appliance.texts import locale_of

NO_COUNTRIES = frozenset(
    {"AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "XK", "ZZ"}
)
"""Codes of two letters in CLDR that ISO 3166 has no country for."""
AFTER_Z = {"nb": str.maketrans({"Æ": "Z1", "Ø": "Z2", "Å": "Z3"})}


@cache
def countries(language: str) -> Sequence[tuple[str, str]]:
    """Each one's code (ISO 3166-1 alpha-2) and name, in the order of the language's alphabet."""
    territories = Locale.parse(locale_of(language)).territories
    found = [(code, name) for code, name in territories.items() if len(code) == 2 and code not in NO_COUNTRIES]
    return sorted(found, key=lambda one: _place(one[1], language))


def country_name(code: str, language: str) -> str:
    return dict(countries(language)).get(code, code)


def _place(name: str, language: str) -> str:
    """Accents count for nothing, but letters that are a language's own stand where it has them."""
    own = name.translate(AFTER_Z.get(language, {}))
    return unicodedata.normalize("NFKD", own).encode("ascii", "ignore").decode().casefold()
