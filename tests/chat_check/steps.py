"""What the real LibreChat shows, a step each: it returns what was found, and raises if that is not as promised."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Locator

from tests.browser.sample import PASSWORD
from tests.chat_check import abacus, books
from tests.chat_check.stage import ANSWER, EMAIL, PATIENCE_SECONDS, PROMPT, TALK, WORDS, Stage
from tests.scenarios.nowhere import dump, files_with
from tests.scenarios.system import books_balance

CANARY = "zqchat4471"
QUESTION = f"What is the capital of France? My number is {CANARY}."
LONG = "Count from one to five hundred, in words, one number a line."
REASON = "the key was shared"
PIECES = 12
"""So often an answer is to be seen to grow."""
TRIES = 5
NEW_MODEL = "another"
UNTITLED = ("", "New Chat", "Untitled")
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Step:
    shows: str
    do: Callable[[Stage], str]


def sign_on(stage: Stage) -> str:
    page, seen = stage.page, list[str]()
    page.on("framenavigated", lambda frame: seen.append(frame.url))
    page.goto(f"{stage.site}/dashboard")
    began = time.monotonic()
    page.click("nav >> text=Chat")
    page.wait_for_selector(PROMPT)
    seconds = time.monotonic() - began
    assert not any("/sign-in" in url for url in seen), seen
    stage.photograph("signed-on")
    return f"from the site's menu to LibreChat in {seconds:.1f} s, no password asked"


def stream(stage: Stage) -> str:
    stage.new_chat()
    began = time.monotonic()
    answer = stage.ask(QUESTION)
    lengths, first = [len(answer.inner_text())], 0.0
    while stage.is_answering() and len(lengths) <= PIECES and time.monotonic() - began < PATIENCE_SECONDS:
        length = len(answer.inner_text())
        if length > lengths[-1]:
            lengths.append(length)
            first = first or time.monotonic() - began
        time.sleep(POLL_SECONDS)
    stage.photograph("answer")
    assert len(lengths) > 3, f"the answer came in {len(lengths) - 1} pieces"
    return f"first words after {first:.1f} s, the answer seen to grow {len(lengths) - 1} times"


def title(stage: Stage) -> str:
    found = ""
    until = time.monotonic() + PATIENCE_SECONDS
    while found in UNTITLED:
        assert time.monotonic() < until, "the conversation has no title"
        found = stage.page.locator(TALK).first.inner_text().strip()
        time.sleep(POLL_SECONDS)
    stage.stop()
    return f"the list of conversations calls it {found!r}"


def ours(stage: Stage) -> str:
    """What LibreChat would show by itself."""
    page = stage.page
    page.get_by_title("Copy to clipboard").first.wait_for()
    assert page.get_by_title("Read aloud").count() == page.locator("#audio-recorder").count() == 0
    footer = page.get_by_role("contentinfo").inner_text()
    assert "LibreChat" not in footer, footer
    links = {link.get_attribute("href") for link in page.get_by_role("contentinfo").get_by_role("link").all()}
    assert links == {stage.settings.site_url + path for path in ("", "/privacy", "/terms")}
    return f"no button to dictate or to read aloud; at the foot of the page: {' · '.join(footer.split(chr(10)))}"


def stop(stage: Stage) -> str:
    answer = _one_that_goes_on(stage)
    stage.stop()
    words = answer.locator(WORDS).inner_text()
    stage.system.wait_until_no_holds(60)
    assert answer.locator(WORDS).inner_text() == words
    last = next(one for one in books.requests(stage.system) if one["completion_tokens"] > 0)
    return f"stopped after {len(words)} characters, and charged for {last['completion_tokens']} tokens of answer"


def _one_that_goes_on(stage: Stage) -> Locator:
    """A small model sometimes has little to say."""
    for _ in range(TRIES):
        stage.new_chat()
        answer = stage.ask(LONG)
        _wait_for_words(answer, 1)
        if stage.is_answering():
            return answer
    raise AssertionError("every answer had ended before it could be stopped")


def agent(stage: Stage) -> str:
    stage.new_chat()
    _make_agent(stage)
    before = len(books.requests(stage.system))
    answer = stage.ask(f"What is {abacus.SUM}?")
    _wait_for_text(answer, "42")
    stage.stop()
    stage.photograph("agent")
    stage.system.wait_until_no_holds(60)
    charged = [one for one in books.requests(stage.system) if one["model"] == abacus.MODEL]
    assert all(one["prompt_tokens"] == abacus.PROMPT_TOKENS for one in charged), charged
    assert len(books.requests(stage.system)) - before == len(charged) >= 2
    return (
        f"LibreChat's calculator worked out {abacus.SUM}: {len(charged)} requests, each charged as it was billed"
    )


def renewal(stage: Stage) -> str:
    """As `appliance models apply` does it, while somebody's answer runs."""
    stage.new_chat()
    stage.choose(abacus.MODEL)
    answer = stage.ask(abacus.COUNT)
    _wait_for_text(answer, "1 2 3")
    first = stage.system.processes("librechat")[-1]
    began = time.monotonic()
    stage.offer(NEW_MODEL)
    _wait_for_text(answer, f"{abacus.COUNTED - 1} {abacus.COUNTED}")
    seconds = time.monotonic() - began
    assert first.is_running(), "it was broken off"
    assert NEW_MODEL in (stage.settings.librechat_home / "librechat.yaml").read_text()
    until = time.monotonic() + PATIENCE_SECONDS
    while first.is_running() or not stage.answers():
        assert time.monotonic() < until, "LibreChat did not start again"
        time.sleep(POLL_SECONDS)
    again = time.monotonic() - began - seconds
    stage.page.reload()
    _wait_for_text(stage.page.locator(ANSWER).last, f"{abacus.COUNTED - 1} {abacus.COUNTED}")
    stage.new_chat()
    stage.choose(NEW_MODEL)
    return f"an answer went on for {seconds:.0f} s; {again:.0f} s after it LibreChat was there with the new model"


def charge(stage: Stage) -> str:
    books_balance(stage.system)
    found = books.of_the_chat(stage.system)
    assert found.other_channels == 0, "something was charged that is no chat"
    assert found.spent_nanodollars == found.granted_nanodollars - found.balance_nanodollars
    stage.page.goto(f"{stage.site}/dashboard")
    text = stage.page.inner_text("main").lower()
    assert "chat" in text, text
    stage.photograph("dashboard")
    return (
        f"{found.requests} requests, {found.prompt_tokens} tokens in and {found.completion_tokens} out: by request"
        f" the ledger agrees with the replica's own journal, and the dashboard shows them as chat"
    )


def sign_out(stage: Stage) -> str:
    stage.new_chat()
    page = stage.page
    page.get_by_test_id("nav-user").click()
    page.get_by_text("Log out").click()
    page.wait_for_selector("#password")
    page.goto(f"{stage.site}/dashboard")
    page.wait_for_selector("#password")
    _sign_in(stage)
    stage.new_chat()
    return "signing out of the chat ended the session at the site too, and signing in there again led back"


def suspension(stage: Stage) -> str:
    stage.new_chat()
    stage.system.appliance("account", "suspend", EMAIL, "--reason", REASON)
    try:
        said = _answer_to(stage, QUESTION)
        stage.photograph("suspended")
    finally:
        stage.system.appliance("account", "resume", EMAIL, "--reason", "that is settled")
    assert "suspended" in said, said
    _sign_in(stage)
    stage.page.goto(f"{stage.chat}/oauth/openid")
    stage.page.wait_for_selector(PROMPT)
    assert "went wrong" not in _answer_to(stage, QUESTION)
    return f"the next message was answered with: {said.partition('the request: ')[2]}"


def traces(stage: Stage) -> str:
    """After answers and refusals alike."""
    home, source = stage.system.home, stage.settings.librechat
    assert source is not None
    own = home / "librechat" / "mongo"
    logs = (source.source / "logs", source.source / "api" / "logs")
    found = [path for place in (home, *logs) for path in files_with(CANARY.encode(), place)]
    assert [path for path in found if own not in path.parents] == []
    assert CANARY not in dump(stage.settings.sqlalchemy_url)
    return "what was asked is in LibreChat's database, and in no log, table or other file"


def deletion(stage: Stage) -> str:
    person = books.person_in_librechat(stage.settings, EMAIL)
    before = books.documents_of(stage.settings, person)
    assert before > 0
    page = stage.page
    _sign_in(stage)
    page.goto(f"{stage.site}/account/delete")
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_load_state()
    number = books.let_the_days_pass(stage.system)
    stage.system.kill("worker")  # its next start looks at once who is to be deleted
    books.wait_until_deleted(stage.system, number, PATIENCE_SECONDS)
    left = books.documents_of(stage.settings, person)
    assert left == 0, f"{left} documents of the person are left"
    assert books.files_of(stage.settings, person) == []
    return f"{before} documents of the person before, none in any collection after the thirty days, no file either"


def _answer_to(stage: Stage, text: str) -> str:
    answer = stage.ask(text)
    _wait_for_words(answer, 1)
    stage.stop()
    return answer.inner_text()


def _wait_for_words(answer: Locator, length: int) -> None:
    """Of the answer itself: its head is there from the beginning."""
    head = len(answer.inner_text())
    until = time.monotonic() + PATIENCE_SECONDS
    while len(answer.inner_text()) < head + length:
        assert time.monotonic() < until, f"no answer came: {answer.inner_text()}"
        time.sleep(POLL_SECONDS)


def _wait_for_text(answer: Locator, text: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while text not in answer.inner_text():
        assert time.monotonic() < until, f"it is not said: {answer.inner_text()}"
        time.sleep(POLL_SECONDS)


def _sign_in(stage: Stage) -> None:
    page = stage.page
    page.goto(f"{stage.site}/sign-in")
    if page.locator("#password").count():
        page.fill("#email", EMAIL)
        page.fill("#password", PASSWORD)
        page.click("main button")
        page.wait_for_selector("h1:has-text('Overview')")


def _make_agent(stage: Stage) -> None:
    page = stage.page
    page.get_by_test_id("nav-panel-agents").click()
    page.fill("#name", "Sums")
    page.fill("#instructions", "Use the calculator.")
    page.locator("form button:has-text('Select a model')").click()
    page.get_by_role("combobox", name="Provider").click()
    page.get_by_role("option", name=stage.settings.site.name).click()
    page.get_by_role("combobox", name="Model", exact=True).click()
    page.get_by_role("option", name=abacus.MODEL).click()
    page.get_by_label("Back to builder").click()
    page.get_by_role("button", name="Add Tools").click()
    page.get_by_label("Add Calculator").click()
    page.get_by_label("Remove Calculator").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_label("Select Agent").click()
    page.get_by_label("Delete Calculator").wait_for()


STEPS = (
    Step("a customer comes from the site to the chat without a second password", sign_on),
    Step("an answer is streamed", stream),
    Step("the conversation gets a title", title),
    Step("what is shown is the operator's, and what asks others is off", ours),
    Step("an answer is stopped", stop),
    Step("an agent uses a tool", agent),
    Step("a new model waits for the answers that run", renewal),
    Step("all of it is charged to the person, to the token", charge),
    Step("signing out ends both", sign_out),
    Step("a suspended account is told so by the next message", suspension),
    Step("what people write is kept by LibreChat alone", traces),
    Step("thirty days after the deletion nothing of the person is left in LibreChat", deletion),
)
