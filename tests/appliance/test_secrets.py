"""The system's own secrets."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from appliance.secrets import SecretsError, create, read, read_chat, read_chat_service_key
from billing.customers.keys import is_well_formed


def test_they_are_private_random_and_made_once(tmp_path: Path) -> None:
    create(tmp_path / "one")
    create(tmp_path / "two")
    first = read(tmp_path / "one")
    create(tmp_path / "one")
    assert read(tmp_path / "one") == first
    assert first != read(tmp_path / "two")
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "one").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700


def test_they_never_show_in_a_representation(tmp_path: Path) -> None:
    create(tmp_path)
    secrets = read(tmp_path)
    assert secrets.cluster_secret not in repr(secrets)
    assert repr(secrets.key_pepper) not in repr(secrets)


@pytest.mark.parametrize("damage", ["", "abc", "zz" * 32])
def test_a_missing_or_damaged_one_is_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    with pytest.raises(SecretsError, match="key_pepper is missing"):
        read(tmp_path)
    create(tmp_path)
    (tmp_path / "key_pepper").write_text(damage)
    with pytest.raises(SecretsError, match="key_pepper is damaged"):
        read(tmp_path)


def test_a_gateway_reads_of_the_chat_its_service_key_alone(tmp_path: Path) -> None:
    create(tmp_path)
    (tmp_path / "openid_client_secret").unlink()
    assert is_well_formed(read_chat_service_key(tmp_path))
    with pytest.raises(SecretsError, match="openid_client_secret is missing"):
        read_chat(tmp_path)


def test_the_chats_are_its_own_and_the_service_key_is_of_the_form_of_a_key(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="chat_service_key is missing"):
        read_chat(tmp_path)
    create(tmp_path)
    chat = read_chat(tmp_path)
    assert is_well_formed(chat.service_key)
    assert chat.service_key not in repr(chat)
    assert chat.client_secret not in repr(chat)
    (tmp_path / "chat_service_key").write_text(chat.service_key[:-1])
    with pytest.raises(SecretsError, match="chat_service_key is damaged"):
        read_chat(tmp_path)
