"""A certificate for `localhost`, made here: LibreChat signs nobody on over a connection without TLS.

Only for a machine that tries the chat out: browsers warn of it, once, and nobody else is to trust it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LASTS = timedelta(days=397)
"""The most that browsers take."""
RENEWED_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Files:
    """As PEM. The certificate is its own authority: what trusts it trusts this file."""

    certificate: Path
    key: Path


def kept(folder: Path, now: datetime) -> Files:
    """The certificate of the folder, made where there is none that lasts."""
    files = Files(folder / "localhost.pem", folder / "localhost.key")
    if not _lasts(files, now):
        folder.mkdir(parents=True, exist_ok=True)
        _make(files, now)
    return files


def _lasts(files: Files, now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return files.key.exists() and found.not_valid_after_utc - now > RENEWED_BEFORE


def _make(files: Files, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    hosts = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LASTS)
        .add_extension(hosts, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files.key.touch(mode=0o600)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
