"""A passkey in software, and the browser that uses it: what WebAuthn, level 3, has both do for a site."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from struct import pack
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, NEW = 0x01, 0x04, 0x40
ES256, EC2, P256 = -7, 2, 1


@dataclass
class SoftPasskey:
    """``unlocked``: by a finger, a face or a number; ``proof`` is how its maker is proven, which is left empty."""

    origin: str
    unlocked: bool = True
    proof: str = "none"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential: bytes = field(default_factory=lambda: token_bytes(16))
    handle: bytes = b""
    used: int = 0

    def create(self, options: str) -> str:
        """``navigator.credentials.create``, from JSON to JSON."""
        asked = json.loads(options)
        self.handle = _bytes(asked["user"]["id"])
        data = self._client_data("webauthn.create", asked)
        point = self.key.public_key().public_numbers()
        public = {1: EC2, 3: ES256, -1: P256, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}
        made = bytes(16) + pack(">H", len(self.credential)) + self.credential + cbor2.dumps(public)
        told = self._told(asked["rp"]["id"], NEW) + made
        attestation = cbor2.dumps({"fmt": self.proof, "attStmt": {}, "authData": told})
        return self._answer(clientDataJSON=data, attestationObject=attestation)

    def get(self, options: str) -> str:
        """``navigator.credentials.get``, from JSON to JSON."""
        asked = json.loads(options)
        self.used += 1
        data, told = self._client_data("webauthn.get", asked), self._told(asked["rpId"], 0)
        signature = self.key.sign(told + sha256(data).digest(), ec.ECDSA(SHA256()))
        answer = {"clientDataJSON": data, "authenticatorData": told, "signature": signature}
        return self._answer(**answer, userHandle=self.handle)

    def _told(self, host: str, flags: int) -> bytes:
        flags |= PRESENT | (VERIFIED if self.unlocked else 0)
        return sha256(host.encode()).digest() + pack(">BI", flags, self.used)

    def _client_data(self, kind: str, asked: dict[str, Any]) -> bytes:
        data = {"type": kind, "challenge": asked["challenge"], "origin": self.origin, "crossOrigin": False}
        return json.dumps(data).encode()

    def _answer(self, **response: bytes) -> str:
        name, texts = _text(self.credential), {part: _text(value) for part, value in response.items()}
        answer = {"id": name, "rawId": name, "type": "public-key", "response": texts}
        return json.dumps(answer | {"clientExtensionResults": {}})


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
