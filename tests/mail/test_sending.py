"""The queue and its sender, with a real SMTP server that says what the test wants."""

import asyncio
import email
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.mail import queue
from appliance.mail.letter import Letter, Sender, as_message
from appliance.mail.queue import GIVEN_UP_AFTER, LEASE, Mail
from appliance.mail.sending import Sending
from appliance.mail.tables import mail
from appliance.mail.way import NotNow, Outbox, Smtp
from billing.database.db import Database
from tests.billing.conftest import TurnedClock
from tests.ports import free_port

HOUSE = Sender("The Service", "hello@service.example")
LINK = "https://service.example/confirm?link=abc"


@dataclass
class Server:
    """Says each of ``replies`` once, to the recipient, and then accepts."""

    replies: list[str] = field(default_factory=list)
    got: list[EmailMessage] = field(default_factory=list)

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:  # noqa: N802 -- aiosmtpd's name
        if self.replies:
            return self.replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802 -- aiosmtpd's name
        message = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        assert envelope.rcpt_tos == [message["To"].addresses[0].addr_spec]
        self.got.append(message)
        return "250 OK"


@dataclass
class Post:
    database: Database
    server: Server
    port: int
    clock: TurnedClock = field(default_factory=TurnedClock)
    written: int = 0

    def sending(self, port: int | None = None) -> Sending:
        way = Smtp("127.0.0.1", port or self.port, "none", None, None)
        return Sending(self.database, way, self.write, HOUSE, self.clock)

    async def write(self, _: AsyncConnection, one: Mail) -> Letter | None:
        self.written += 1
        if one.kind == "nothing":
            return None
        if one.kind == "unknown":
            raise KeyError(one.kind)
        return Letter(f"About {one.kind}", (f"Number {one.about} <b>&</b> å.",), ("Confirm", LINK))

    async def put_in(self, kind: str = "news", to: str = "ada@example.com", about: int | None = None) -> None:
        async with self.database.begin() as connection:
            await queue.enqueue(connection, kind, to, "en", self.clock(), about)

    async def waiting(self) -> int:
        async with self.database.begin() as connection:
            return int((await connection.execute(select(func.count()).select_from(mail))).scalar_one())


@pytest.fixture
def server() -> Iterator[tuple[Server, int]]:
    handler = Server()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield handler, controller.port
    controller.stop()


@pytest.fixture
async def post(fresh_url: str, server: tuple[Server, int]) -> AsyncIterator[Post]:
    database = Database(fresh_url, pool_size=8)
    yield Post(database, *server)
    await database.close()


async def test_what_is_queued_arrives_in_its_order_and_nothing_is_kept_of_it(post: Post) -> None:
    for number in range(3):
        await post.put_in(about=number, to=f"{number}@example.com")
        post.clock.turn(seconds=1)
    assert await post.sending().run_once() == 3
    assert [one["To"] for one in post.server.got] == ["0@example.com", "1@example.com", "2@example.com"]
    assert await post.waiting() == 0
    assert await post.sending().run_once() == 0


async def test_a_mail_can_be_read_as_text_and_as_html(post: Post) -> None:
    await post.put_in(about=7)
    await post.sending().run_once()
    (got,) = post.server.got
    assert (got["From"], got["Subject"]) == ("The Service <hello@service.example>", "About news")
    assert (got["Auto-Submitted"], got["Content-Language"]) == ("auto-generated", "en")
    assert got["Message-ID"].endswith("@service.example>")
    text, html = got.get_body(["plain"]), got.get_body(["html"])
    assert text is not None
    assert html is not None
    assert "Number 7 <b>&</b> å." in text.get_content()
    assert LINK in text.get_content()
    assert "Number 7 &lt;b&gt;&amp;&lt;/b&gt; å." in html.get_content()
    assert f'href="{LINK}"' in html.get_content()
    assert "src=" not in html.get_content(), "nothing is fetched: nobody is told who reads it"


@pytest.mark.parametrize("reply", ["451 later", "421 closing"])
async def test_a_server_that_says_later_gets_it_later_with_a_letter_of_then(post: Post, reply: str) -> None:
    await post.put_in()
    post.server.replies = [reply]
    assert await post.sending().run_once() == 0
    assert await post.sending().run_once() == 0, "not at once"
    post.clock.turn(seconds=30)
    assert await post.sending().run_once() == 1
    assert (len(post.server.got), post.written) == (1, 2)


async def test_a_server_that_is_gone_is_tried_for_days_and_loses_nothing_when_it_is_back(post: Post) -> None:
    await post.put_in()
    nobody = free_port()
    began, tries = post.clock(), 0
    while post.clock() - began < GIVEN_UP_AFTER - timedelta(hours=5):
        assert await post.sending(nobody).run_once() == 0
        post.clock.turn(hours=1)
        tries += 1
    assert post.written < tries, "less and less often"
    assert await post.waiting() == 1
    post.clock.turn(hours=4)
    assert await post.sending().run_once() == 1


async def test_what_was_tried_for_three_days_is_given_up(post: Post) -> None:
    await post.put_in()
    nobody, hours = free_port(), 0
    while await post.waiting() and hours < 100:
        await post.sending(nobody).run_once()
        post.clock.turn(hours=1)
        hours += 1
    assert 60 < hours < 80


async def test_a_recipient_who_is_refused_for_good_is_not_tried_again(post: Post) -> None:
    await post.put_in(to="gone@example.com")
    await post.put_in(to="here@example.com")
    post.server.replies = ["550 no such user"]
    assert await post.sending().run_once() == 1
    assert [one["To"] for one in post.server.got] == ["here@example.com"]
    assert await post.waiting() == 0


async def test_two_senders_share_the_queue(post: Post) -> None:
    for number in range(20):
        await post.put_in(to=f"{number}@example.com")
    sent = await asyncio.gather(*(post.sending().run_once() for _ in range(4)))
    assert sum(sent) == 20
    assert len({one["To"] for one in post.server.got}) == 20


async def test_a_mail_whose_sender_was_killed_is_sent_by_the_next(post: Post) -> None:
    await post.put_in()
    async with post.database.begin() as connection:
        assert await queue.claim(connection, post.clock()) is not None
    assert await post.sending().run_once() == 0
    post.clock.now += LEASE
    assert await post.sending().run_once() == 1


async def test_what_there_is_nothing_to_say_about_any_more_is_dropped(post: Post) -> None:
    await post.put_in("nothing")
    assert await post.sending().run_once() == 0
    assert (await post.waiting(), post.server.got) == (0, [])


async def test_a_mail_that_cannot_be_written_keeps_no_other_waiting(post: Post) -> None:
    await post.put_in("unknown")
    post.clock.turn(seconds=1)
    await post.put_in()
    assert await post.sending().run_once() == 1
    assert await post.waiting() == 1
    post.clock.now += GIVEN_UP_AFTER
    await post.sending().run_once()
    assert await post.waiting() == 0


async def test_what_would_become_a_header_of_its_own_is_not_sent(post: Post) -> None:
    await post.put_in("a\r\nBcc: eve@example.com")
    await post.put_in(to="x@example.com\r\nBcc: eve@example.com")
    assert await post.sending().run_once() == 0
    assert (await post.waiting(), post.server.got) == (0, [])


async def test_without_a_server_a_mail_is_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    letter = Letter("Hei på deg", ("Ålesund.",), ("Bekreft", LINK))
    now = datetime(2026, 11, 28, tzinfo=UTC)
    for _ in range(2):
        await outbox.send(as_message(letter, HOUSE, "ada@example.com", "nb", now))
    first, second = sorted((tmp_path / "outbox").iterdir())
    assert (first.name[:7], second.name[:7]) == ("000001-", "000002-")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    read = email.message_from_bytes(first.read_bytes(), policy=default)
    assert isinstance(read, EmailMessage)
    assert read["Subject"] == "Hei på deg"
    body = read.get_body(["plain"])
    assert body is not None
    assert LINK in body.get_content()


async def test_an_outbox_that_cannot_be_written_is_tried_later(tmp_path: Path) -> None:
    (tmp_path / "outbox").touch()
    with pytest.raises(NotNow):
        await Outbox(tmp_path / "outbox").send(EmailMessage())


async def test_what_waits_is_counted_and_what_goes_to_many_may_wait_longer(post: Post) -> None:
    async with post.database.begin() as connection:
        assert await queue.backlog(connection) == (0, None)
        await queue.enqueue(connection, "news", "a@example.com", "en", post.clock())
        await connection.execute(update(mail).values(bulk=True))
        post.clock.turn(minutes=5)
        await queue.enqueue(connection, "code", "b@example.com", "en", post.clock())
        assert await queue.backlog(connection) == (2, post.clock())
