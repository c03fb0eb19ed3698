"""A whole system for the session, as its operator starts it, and a browser."""

import re
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.screenshots import chromium
from tests.browser.served import Served, served_site
from tests.scenarios.conftest import started
from tests.scenarios.system import System

PATIENCE_SECONDS = 30


@pytest.fixture(scope="session")
def system(prepared_models: Path) -> Iterator[System]:
    with started(prepared_models) as system:
        yield system


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The site alone, with a month of business."""
    with served_site() as site:
        yield site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, system: System) -> Iterator[Page]:
    context = browser.new_context(base_url=site_url(system))
    page = context.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    yield page
    context.close()


def site_url(system: System) -> str:
    found = re.search(r"http://localhost:\d+(?= for people)", system.screen.read_text())
    assert found is not None, system.screen.read_text()
    return found[0]


def first_link(system: System) -> str:
    """The operator's, as `up` prints it."""
    found = re.search(r"http://localhost:\d+/first\?link=\S+", system.screen.read_text())
    assert found is not None, system.screen.read_text()
    return found[0]


def link_of_mail(system: System, to: str, path: str) -> str:
    """The address of the page that the newest such mail leads to."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        for file in sorted((system.home / "outbox").glob("*.eml"), reverse=True):
            mail = message_from_bytes(file.read_bytes(), policy=default)
            body = mail.get_body(("plain",))
            assert body is not None
            found = re.search(rf"https?://\S+{path}\?link=\S+", body.get_content())
            if mail["To"] == to and found:
                return found[0]
        time.sleep(0.2)
    raise AssertionError(f"no mail to {to} leads to {path}")
