"""A PostgreSQL that speaks TLS, by a front of ours before the real one: who verifies it, and who does not."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from billing.database.db import Database, fetch
from billing.database.migrations import upgrade
from billing.errors import DatabaseUnavailable

SSL_REQUEST_BYTES = 8
WAYS = {"SQLAlchemy's": False, "the driver's own": True}


def certificate(folder: Path, host: str) -> Path:
    """One that signs itself, with its key in the same file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / f"{host}.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(made.public_bytes(pem) + private)
    return file


@asynccontextmanager
async def front(url: str, identity: Path) -> AsyncIterator[int]:
    """Takes the request for TLS, and hands on to the socket of the URL what comes by it. Its port."""
    (sockets,) = parse_qs(urlparse(url).query)["host"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(SSL_REQUEST_BYTES)
        writer.write(b"S")
        try:
            await writer.start_tls(context)
        except (OSError, ssl.SSLError):
            return
        back = await asyncio.open_unix_connection(f"{sockets}/.s.PGSQL.5432")
        await asyncio.gather(pump(reader, back[1]), pump(back[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("raw", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    ("host", "options", "lets_in"),
    [
        ("localhost", "ssl=verify-full&sslrootcert={right}", True),
        ("localhost", "ssl=verify-full&sslrootcert={wrong}", False),
        ("localhost", "ssl=verify-full", False),
        ("localhost", "ssl=verify-full&sslrootcert=system", False),
        ("127.0.0.1", "ssl=verify-full&sslrootcert={right}", False),
        ("127.0.0.1", "ssl=verify-ca&sslrootcert={right}", True),
        ("127.0.0.1", "ssl=verify-ca&sslrootcert={wrong}", False),
        ("127.0.0.1", "ssl=require", True),
    ],
)
async def test_a_database_that_cannot_prove_who_it_is_is_not_used(
    fresh_url: str, tmp_path: Path, host: str, options: str, lets_in: bool, raw: bool
) -> None:
    right, wrong = certificate(tmp_path, "localhost"), certificate(tmp_path, "other")
    async with front(fresh_url, right) as port:
        name = urlparse(fresh_url).path
        options = options.format(right=right, wrong=wrong)
        database = Database(f"postgresql://appliance@{host}:{port}{name}?{options}")
        try:
            if lets_in:
                assert await one_row(database, raw=raw) == 1
            else:
                with pytest.raises(DatabaseUnavailable):
                    await one_row(database, raw=raw)
        finally:
            await database.close()


async def one_row(database: Database, *, raw: bool) -> Any:
    if raw:
        async with database.begin_raw() as connection:
            return await connection.fetchval("SELECT 1")
    async with database.begin() as connection:
        return (await fetch(connection, "SELECT 1"))[0][0]


async def test_the_tables_are_made_by_a_verified_connection_too(fresh_url: str, tmp_path: Path) -> None:
    right, wrong = certificate(tmp_path, "localhost"), certificate(tmp_path, "other")
    async with front(fresh_url, right) as port:
        at = f"postgresql://appliance@localhost:{port}{urlparse(fresh_url).path}?ssl=verify-full&sslrootcert="
        await upgrade(f"{at}{right}")
        with pytest.raises(ssl.SSLCertVerificationError):
            await upgrade(f"{at}{wrong}")
