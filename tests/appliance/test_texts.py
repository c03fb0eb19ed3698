"""The catalogues: they say all that the code and the pages say, and nothing else."""

import inspect
import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import appliance
from appliance.identity import errors
from appliance.texts import ENGLISH, LANGUAGES, catalogue_path

SAY = ("say", "_Refused", "CannotBeSent", *(name for name, _ in inspect.getmembers(errors, inspect.isclass)))
"""What is given a text for people: a refusal is said in their language too."""
FILES = [("supervisor/**.py", "ignore"), ("**.py", "python"), ("**.html", "jinja2")]


def said() -> set[str]:
    found = extract_from_dir(Path(appliance.__file__).parent, FILES, keywords=dict.fromkeys(SAY))
    return {message for _, _, message, *_ in found if isinstance(message, str)}


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {ENGLISH}))
def test_a_catalogue_says_all_that_is_said_and_nothing_else(language: str) -> None:
    with catalogue_path(language).open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    there = {str(one.id): one for one in catalogue if one.id}
    assert set(there) == said()
    written = re.findall(r'^msgid "(.+)"$', catalogue_path(language).read_text(), re.MULTILINE)
    assert len(written) == len(set(written)), "a text is there twice"
    for text, one in there.items():
        assert one.string, text
        assert not one.fuzzy, text
        assert sorted(re.findall(r"\{\w*\}", str(one.string))) == sorted(re.findall(r"\{\w*\}", text)), text
