"""The operator's legal texts, as he wrote them: Markdown, with a title, and a version that people accept."""

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markupsafe import Markup

from appliance.settings import CONFIGS, Settings, SettingsError

_HEAD = re.compile(r"# (?P<title>[^\n]+)\nVersion: (?P<version>\d{4}-\d{2}-\d{2})\n(?P<text>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LegalText:
    """``version`` is the day from which it holds."""

    title: str
    version: str
    html: Markup


@dataclass(frozen=True, slots=True)
class LegalTexts:
    terms: LegalText
    privacy: LegalText


def read_legal_texts(settings: Settings) -> LegalTexts:
    """Raises SettingsError: a file cannot be read, or has no title and version."""
    return LegalTexts(
        _read(settings, "terms_file", settings.site.terms_file or str(CONFIGS / "legal" / "terms.md")),
        _read(settings, "privacy_file", settings.site.privacy_file or str(CONFIGS / "legal" / "privacy.md")),
    )


def _read(settings: Settings, field: str, name: str) -> LegalText:
    path = settings.config_folder / name
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"appliance.yaml: site.{field}: {path} cannot be read: {error}") from None
    found = _HEAD.fullmatch(text)
    if found is None:
        raise SettingsError(
            f'appliance.yaml: site.{field}: {path} does not begin with "# Title", "Version: 2026-01-31"'
        )
    company, contact = settings.site.company or settings.site.name, settings.site.contact or settings.mail.sender
    for word, value in (("{service}", settings.site.name), ("{company}", company), ("{contact}", contact)):
        text = text.replace(word, value)
    found = _HEAD.fullmatch(text)
    assert found is not None
    markdown = MarkdownIt("js-default")  # no HTML of the text's own, and no links that run anything
    return LegalText(found["title"], found["version"], Markup(markdown.render(found["text"])))  # noqa: S704
