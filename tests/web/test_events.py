"""What the site's log says of who tries what: enough to see an attack, and nothing that is somebody's."""

import logging
import re
from collections.abc import Callable

import pytest

from tests.web.conftest import PASSWORD, House

PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


Events = Callable[[], list[dict[str, str]]]


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Events:
    """Those since the last call, each as its pairs."""
    caplog.set_level(logging.INFO)

    def since() -> list[dict[str, str]]:
        lines = [record.getMessage() for record in caplog.records if record.name == "appliance.events"]
        caplog.clear()
        assert [PAIR.sub("", line).strip() for line in lines] == [""] * len(lines)
        return [dict(PAIR.findall(line)) for line in lines]

    return since


async def test_every_act_and_every_refusal_is_an_event_of_security(house: House, events: Events) -> None:
    ada = house.browser()
    await ada.sign_up()
    totp, _ = await ada.second_factor()
    events()

    await ada.post("/account/password", {"old": "wrong", "new": PASSWORD + " 2"})
    (tried,) = events()
    account = tried["account"]
    assert tried == {
        "event": "page", "method": "POST", "path": "/account/password", "status": "401", "refused": "-",
        "account": account, "network": "192.0.2.0/24",
    }  # fmt: skip
    assert account.isdigit()

    await ada.get("/console/customers/1")
    (refused,) = events()
    assert (refused["path"], refused["refused"]) == ("/console/customers/{account_id}", "nothing_here")
    await ada.post("/keys", {"name": "theirs"}, fetched="cross-site")
    assert events() == [{"event": "form-refused", "status": "403", "network": "192.0.2.0/24"}]
    await ada.post("/account/sessions", {"session": "999999"})
    assert [one["event"] for one in events()] == ["page"]
    await ada.post("/sign-out")
    assert [one["event"] for one in events()] == ["session-ended", "page"]

    await ada.sign_in(password="wrong")
    assert [(one["path"], one["status"], one["account"]) for one in events()] == [("/sign-in", "401", "-")]
    await ada.sign_in()
    begun, _ = events()
    assert (begun["event"], begun["account"], begun["state"]) == ("session-begun", account, "incomplete")
    await ada.post("/second-factor", {"code": "000000"})
    assert [(one["path"], one["status"], one["account"]) for one in events()] == [
        ("/second-factor", "401", account)
    ]
    house.clock.turn(minutes=1)
    await ada.post("/second-factor", {"code": totp.at(house.clock())})
    completed, _ = events()
    assert completed == {"event": "session-completed", "session": begun["session"], "account": account}
    await ada.get("/dashboard")
    assert events() == []


async def test_no_event_has_a_name_an_email_a_whole_address_or_a_secret(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ada, operator = house.browser("203.0.113.77"), house.browser("198.51.100.1")
    await ada.sign_up("ada@example.com", "Ada Lovelace")
    await operator.become_operator()
    await ada.post("/account/name", {"name": "Augusta"})
    await ada.post("/account/email", {"password": PASSWORD, "email": "augusta@example.com"})
    key = (await ada.client.post("/playground/key", headers={"sec-fetch-site": "same-origin"})).json()["key"]
    await operator.post("/console/invitations", {"email": "eve@example.com"})
    await ada.get("/console?search=eve@example.com")
    cookies = [cookie.value or "-" for cookie in ada.client.cookies.jar]
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("appliance"))
    assert "event=page" in text
    for somebodys in ("Ada", "Lovelace", "Augusta", "@", "203.0.113.77", PASSWORD, key, *cookies):
        assert somebodys not in text
