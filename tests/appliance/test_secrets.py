"""The system's own secrets."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from appliance.secrets import SecretsError, create, read


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
