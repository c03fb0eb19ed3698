"""What the product is built on, as a bill of materials: CycloneDX 1.6, from the locks.

No hashes: a package has a file for each platform, and the locks, which are in the source archive, have them all.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts.release.errors import ReleaseError
from scripts.release.locks import DEVELOPMENT, Locked

PRODUCT = "appliance"


def bill(version: str, commit: str, at: int, packages: Iterable[Locked], licences: Mapping[str, str]) -> str:
    """As JSON. ``at`` is in seconds since 1970; ``licences`` are SPDX expressions by package.

    Raises:
        ReleaseError: it is not what the schema of CycloneDX asks for.
    """
    parts = [component(package, licences[package.name]) for package in packages]
    product = {
        "type": "application",
        "bom-ref": f"{PRODUCT}@{version}",
        "name": PRODUCT,
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "purl": f"pkg:generic/{PRODUCT}@{version}",
        "properties": [{"name": "appliance:commit", "value": commit}],
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'{PRODUCT}@{version}@{commit}')}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lifecycles": [{"phase": "pre-build"}],
            "component": product,
        },
        "components": parts,
        "dependencies": [{"ref": product["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    text = json.dumps(document, indent=2) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise ReleaseError(f"the bill of materials is not CycloneDX: {wrong}")
    return text


def component(package: Locked, licence: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{package.name}@{quote(package.version)}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "scope": scope(package),
        "licenses": [{"expression": licence}],
        "purl": purl,
        "properties": [{"name": "appliance:lock", "value": lock} for lock in package.locks],
    }


def scope(package: Locked) -> str:
    """Required on every machine; optional on some, by GPU, platform or chat; excluded if tests alone need it."""
    if set(package.locks) <= set(DEVELOPMENT):
        return "excluded"
    everywhere = {"cpu", "gpu"} <= set(package.locks) or "uv" in package.locks
    return "required" if everywhere else "optional"
