"""API keys."""

import math

from billing.customers import keys


def test_a_key_is_recognised_by_its_form_alone() -> None:
    key = keys.generate_key()
    assert key.startswith("sk-ap-")
    assert keys.is_well_formed(key)
    assert keys.RANDOM_DIGITS * math.log2(62) >= 160


def test_a_mistyped_key_is_refused_without_asking_the_database() -> None:
    key = keys.generate_key()
    for position in range(len(key)):
        other = "a" if key[position] != "a" else "b"
        assert not keys.is_well_formed(key[:position] + other + key[position + 1 :])
    assert not keys.is_well_formed(key + "a")
    assert not keys.is_well_formed("")
    assert not keys.is_well_formed("é" * keys.LENGTH)


def test_keys_do_not_repeat_and_a_digest_needs_the_pepper() -> None:
    made = {keys.generate_key() for _ in range(1000)}
    assert len(made) == 1000
    key = made.pop()
    assert keys.digest(b"a" * 32, key) != keys.digest(b"b" * 32, key)
    assert key.encode() not in keys.digest(b"a" * 32, key)
