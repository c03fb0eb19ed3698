"""No real money is ever near the scenarios."""

import pytest

from tests.stripe_account.__main__ import main
from tests.stripe_account.key import VARIABLE, NoTestKey, required_key


@pytest.mark.parametrize("key", ["sk_live_abc", "rk_live_abc"])
def test_a_live_key_is_refused_in_one_sentence(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(SystemExit, match="live key") as refused:
        main([])
    assert key not in str(refused.value)
    assert str(refused.value).count(".") == 1


@pytest.mark.parametrize("key", ["", "pk_test_abc", "whsec_abc"])
def test_what_is_no_key_of_a_test_account_is_refused(key: str) -> None:
    with pytest.raises(NoTestKey, match="sk_test_"):
        required_key({VARIABLE: key})


@pytest.mark.parametrize("key", ["sk_test_abc", "rk_test_abc"])
def test_a_test_key_is_taken(key: str) -> None:
    assert required_key({VARIABLE: key}) == key
