"""What people are told by mail: in their language, with links that work."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from sqlalchemy import update

from appliance.identity import arrivals, credentials, entering, inviting, joining, proofs, second
from appliance.identity.letters import KEY_MADE, Letters, Site
from appliance.identity.origin import Origin
from appliance.identity.places import Places
from appliance.identity.tables import person
from appliance.mail.letter import Letter
from appliance.mail.queue import Mail
from appliance.texts import LANGUAGES
from appliance.web import keys
from tests.identity.conftest import HOME, PASSWORD, Door
from tests.places import write_places

SITE = Site("The Service", "https://service.example")
NEWS = (
    arrivals.NEW_DEVICE, arrivals.NEW_COUNTRY,
    credentials.PASSWORD_CHANGED, credentials.EMAIL_CHANGED, credentials.EMAIL_CHANGE_ASKED,
    second.SECOND_FACTOR_ON, second.SECOND_FACTOR_OFF, second.PASSKEY_ADDED, second.PASSKEY_REMOVED,
    proofs.RECOVERY_CODE_USED, KEY_MADE,
)  # fmt: skip


async def write(door: Door, one: Mail) -> Letter | None:
    async with door.database.begin() as connection:
        return await Letters(SITE, door.places, door.clock).write(connection, one)


async def letter(door: Door) -> Letter:
    (one,) = await door.mail()
    written = await write(door, one)
    assert written is not None
    return written


def link_of(written: Letter, path: str) -> str:
    assert written.link is not None
    url = urlparse(written.link[1])
    assert (url.scheme, url.netloc, url.path) == ("https", "service.example", path)
    (token,) = parse_qs(url.query)["link"]
    return token


async def test_the_link_of_the_mail_makes_the_account(door: Door) -> None:
    browser = await door.apply()
    link = link_of(await letter(door), "/confirm")
    assert await door.signed(await door.joining.confirm(link, HOME, browser=browser)) is not None


async def test_whoever_has_an_account_is_told_so_instead(door: Door) -> None:
    await door.join()
    await door.apply("ADA@example.com")
    written = await letter(door)
    assert (written.subject, written.to) == ("You have an account already", "ada@example.com")
    assert written.link == ("Sign in", "https://service.example/sign-in")


async def test_whoever_applied_too_long_ago_is_told_nothing(door: Door) -> None:
    await door.apply()
    (one,) = await door.mail()
    door.clock.now += joining.LINK_LASTS
    async with door.database.begin() as connection:
        await joining.forget(connection, door.clock())
    assert await write(door, one) is None


async def test_the_link_of_the_mail_replaces_the_password(door: Door) -> None:
    await door.join()
    await door.credentials.forgot("ADA@example.com", "nb", HOME)
    written = await letter(door)
    assert (written.subject, written.to) == ("Velg et nytt passord", "ada@example.com")
    await door.credentials.reset(link_of(written, "/reset"), "an entirely new one of 9 words", HOME)
    await door.mail()
    await door.credentials.forgot("nobody@example.com", "en", HOME)
    (one,) = await door.mail()
    assert await write(door, one) is None


async def test_the_link_of_the_mail_changes_the_email(door: Door) -> None:
    me = await door.signed((await door.join()).session)
    assert me is not None
    await door.credentials.change_email(me, PASSWORD, "ada@example.org")
    one, _ = await door.mail()
    written = await write(door, one)
    assert written is not None
    await door.credentials.confirm_email(me, link_of(written, "/account/email"))


@pytest.mark.parametrize("language", [*LANGUAGES, "xx"])
@pytest.mark.parametrize("kind", NEWS)
async def test_news_say_what_happened_and_what_to_do_about_it(door: Door, kind: str, language: str) -> None:
    one = Mail(1, kind, "ada@example.com", language, 1, door.clock(), 0)
    written = await write(door, one)
    assert written is not None
    assert written.link is not None
    beyond = kind in (credentials.EMAIL_CHANGED, second.SECOND_FACTOR_ON, second.PASSKEY_ADDED)
    assert written.link[1] == f"https://service.example/{'contact' if beyond else 'forgot'}"
    assert "The Service" in written.paragraphs[0]
    assert not re.search(r"[{}]", " ".join((written.subject, *written.paragraphs)))


def kinds() -> Iterator[str]:
    """All that is put into the queue for identity to write: the constants that are kinds of mail."""
    for module in (joining, inviting, entering, credentials, proofs, second, keys):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        used = {
            node.id
            for call in ast.walk(tree)
            if is_told(call)
            for node in ast.walk(call)
            if isinstance(node, ast.Name)
        }
        yield from (getattr(module, name) for name in used if name.isupper())


def is_told(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in (
        "queue.enqueue",
        "tell",
        "self._after_one_is_gone",
    )


def test_every_kind_that_is_queued_is_written() -> None:
    written = {
        *NEWS,
        inviting.INVITED,
        joining.CONFIRM_EMAIL,
        credentials.RESET_PASSWORD,
        credentials.CONFIRM_CHANGE,
    }
    assert set(kinds()) == written


@pytest.mark.parametrize(("language", "country"), [("en", "Japan"), ("nb", "Japan"), ("xx", "Japan")])
async def test_a_sign_in_is_told_with_its_country_where_that_is_known(
    door: Door, tmp_path: Path, language: str, country: str
) -> None:
    door.places = Places(write_places(tmp_path / "places.mmdb"))
    await door.join()
    async with door.database.begin() as connection:
        await connection.execute(update(person).values(language=language))
    await door.entering.sign_in("ada@example.com", PASSWORD, Origin("198.51.100.7", "x"))
    assert country in " ".join((await letter(door)).paragraphs)
    await door.entering.sign_in("ada@example.com", PASSWORD, Origin("100.64.1.1", "x"))
    assert len((await letter(door)).paragraphs) == 2
