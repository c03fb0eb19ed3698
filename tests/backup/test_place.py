"""Whether an operator hears that the key for S3 could destroy the backups."""

from datetime import UTC, datetime

import httpx
import pytest

from appliance.backup.place import MAY_DELETE, NO_VERSIONS, Key, dangers, signed

PLACE = "s3:https://s3.example.com/my-backups/appliance/files"
KEY = Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
NOW = datetime(2013, 5, 24, tzinfo=UTC)
ENABLED = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def test_a_request_is_signed_as_amazons_example_is() -> None:
    """The one of the page "Authenticating Requests: Using the Authorization Header"."""
    request = signed("GET", httpx.URL("https://examplebucket.s3.amazonaws.com/?lifecycle="), KEY, NOW)
    assert request.headers["authorization"].endswith(
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


@pytest.mark.parametrize(
    ("versions", "deletion", "why"),
    [
        ((200, ENABLED), 403, ""),
        ((200, ENABLED), 204, MAY_DELETE),
        ((200, "<VersioningConfiguration/>"), 204, NO_VERSIONS),
        ((403, ""), 404, MAY_DELETE),
        ((403, ""), 403, ""),
        ((503, ""), 503, ""),
    ],
)
def test_what_the_key_may_do_is_said(versions: tuple[int, str], deletion: int, why: str) -> None:
    asked: list[tuple[str, str]] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, str(request.url)))
        status, text = versions if request.method == "GET" else (deletion, "")
        return httpx.Response(status, text=text)

    said = dangers(PLACE, KEY, NOW, service)
    assert [why in one for one in said] == [True] * bool(why)
    assert asked == [
        ("GET", "https://s3.example.com/my-backups?versioning="),
        ("DELETE", "https://s3.example.com/my-backups/appliance/files/none?versionId=null"),
    ]


def test_nobody_is_asked_of_another_place_and_silence_is_no_danger() -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert dangers("sftp:appliance-backup:/backups/files", KEY, NOW, nobody) == []
    assert dangers(PLACE, KEY, NOW, nobody) == []
