"""What a customer is told of a plan, in both languages."""

import pytest

from appliance.identity.letters import Site
from appliance.news.plans import _SAID, PlanLetters
from appliance.texts import speaker
from billing.payments.plan_life import CONTESTED

BODY = {
    "names": {"en": "Small", "nb": "Liten"}, "next_names": {"en": "Large"}, "until": "2027-04-08T12:00:00+00:00",
    "reason": "not paid",
}  # fmt: skip


@pytest.mark.parametrize("became", _SAID)
@pytest.mark.parametrize("language", ["en", "nb"])
def test_each_letter_names_the_plan_and_leaves_nothing_open(became: str, language: str) -> None:
    write = PlanLetters(Site("Example", "https://example.com")).kinds["plan"]
    letter = write(BODY | {"became": became}, speaker(language), language)
    text = " ".join((letter.subject, *letter.paragraphs))
    assert {"en": "Small", "nb": "Liten"}[language] in text
    assert "{" not in text


def test_a_renewal_that_failed_says_until_when_and_what_to_do() -> None:
    write = PlanLetters(Site("Example", "https://example.com")).kinds["plan"]
    letter = write(BODY | {"became": "unpaid"}, speaker("nb"), "nb")
    assert "Grensene beholder du til 8. april 2027 (UTC)." in letter.paragraphs[1]
    assert "lagre et annet kort" in letter.paragraphs[2]


def test_whoever_contested_the_payment_reads_why_the_plan_ended() -> None:
    write = PlanLetters(Site("Example", "https://example.com")).kinds["plan"]
    body = BODY | {"became": "ended", "reason": CONTESTED}
    assert "your bank has taken back" in write(body, speaker("en"), "en").paragraphs[1]
    assert "banken din har tatt tilbake" in write(body, speaker("nb"), "nb").paragraphs[1]
