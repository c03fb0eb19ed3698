"""The words that people read, in their language: English in the code, the others in catalogues (gettext).

``appliance/locale/<language>/LC_MESSAGES/appliance.po`` is read as it is: nothing has to be compiled, and a
translator sees a change at the next start. A test holds the catalogues complete.
"""

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LOCALE = Path(__file__).parent / "locale"
ENGLISH = "en"
LANGUAGES = (ENGLISH, *sorted(path.name for path in LOCALE.iterdir()))

LOCALES = {ENGLISH: "en_GB"}
"""How days and numbers are written: in English with the day before the month, and a clock of 24 hours."""

Say = Callable[..., str]
"""``say("{count} keys", count=2)``: in one language."""


def known(language: str) -> str:
    """English for a language that there is no catalogue of."""
    return language if language in LANGUAGES else ENGLISH


def locale_of(language: str) -> str:
    return LOCALES.get(language, language)


def speaker(language: str) -> Say:
    words = _translations(known(language))

    def say(text: str, **values: object) -> str:
        return str(words.gettext(text)).format(**values)

    return say


def catalogue_path(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "appliance.po"


@cache
def _translations(language: str) -> NullTranslations:
    if language == ENGLISH:
        return NullTranslations()
    with catalogue_path(language).open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)
