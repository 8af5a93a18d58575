"""The bill of materials: CycloneDX JSON of what a lock names, the same for the same lock."""

import json
import uuid
from typing import Any

from supply.locked import Requirement

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "pkg:pypi/hdx")


def purl(name: str, version: str) -> str:
    """Return the package URL of a release, which names no registry."""
    return f"pkg:pypi/{name}@{version}"


def licences(one: Requirement) -> list[dict[str, Any]]:
    """Return the licence as its author declares it, an expression of SPDX or a name, or none."""
    if not one.licence:
        return []
    if one.spdx:
        return [{"expression": one.licence, "acknowledgement": "declared"}]
    return [{"license": {"name": one.licence, "acknowledgement": "declared"}}]


def component(one: Requirement) -> dict[str, Any]:
    """Return a library; the hashes are those of all files of its release, of which a machine installs one."""
    ref = purl(one.name, one.version)
    told: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": one.name, "version": one.version, "purl": ref}
    if found := licences(one):
        told["licenses"] = found
    if one.hashes:
        hashes = [{"alg": "SHA-256", "content": digest} for digest in one.hashes]
        told["externalReferences"] = [{"type": "distribution", "url": ref, "hashes": hashes}]
    notes = {"hdx:marker": one.marker, "hdx:unlocked": "" if one.hashes else "its build differs by machine"}
    if any(notes.values()):
        told["properties"] = [{"name": name, "value": value} for name, value in notes.items() if value]
    return told


def dependencies(own: str, found: list[Requirement]) -> list[dict[str, Any]]:
    """Return who asks for whom: the lock says of each library who asks for it."""
    refs = {one.name: purl(one.name, one.version) for one in found} | {"hdx": own}
    asks: dict[str, set[str]] = {ref: set() for ref in refs.values()}
    for one in found:
        for name in one.asked_by:
            if name in refs:
                asks[refs[name]].add(refs[one.name])
    return [{"ref": ref, "dependsOn": sorted(asks[ref])} for ref in sorted(asks)]


def bill(version: str, found: list[Requirement]) -> str:
    """Return the document.

    Source: CycloneDX 1.6, ECMA-424. The serial number is drawn from the content, and no moment is told, so that the
    same lock makes the same bytes.
    """
    own = purl("hdx", version)
    told: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "hdx",
                "version": version,
                "purl": own,
                "licenses": [{"expression": "Apache-2.0", "acknowledgement": "declared"}],
            },
        },
        "components": [component(one) for one in found],
        "dependencies": dependencies(own, found),
    }
    told["serialNumber"] = uuid.uuid5(NAMESPACE, json.dumps(told, sort_keys=True)).urn
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"
