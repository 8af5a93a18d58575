"""Versions registered and moved in a running service, for tests that watch the replicas follow."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import httpx

from pipelines.detectors.bundle import Bundle, unpack
from pipelines.machines.family import read_family
from pipelines.promotion.mlflow_client import Access, Registry, model_name
from pipelines.promotion.signing import SIGNATURE, Signer
from pipelines.training.publish import publish
from serve_app.shared.registry_access import access_of, signer_of
from tests.serve.service import Service

FAMILY = read_family("generic")


def registry_of(service: Service) -> Registry:
    """Return the service's registry."""
    return Registry(access_of(service.settings))


def live_bundle(service: Service, detector: str) -> Bundle:
    """Return the version that is live."""
    source, name = registry_of(service), model_name("generic", detector)
    return unpack(source.fetch(source.release(name, source.state(name).live)))


def register(service: Service, bundle: Bundle, note: str) -> str:
    """Register a bundle once more, under another card; the alias stays where it is."""
    noted, settings = replace(bundle, card=replace(bundle.card, notes=(note,))), service.settings
    return publish(noted, FAMILY, access_of(settings), signer_of(settings), promote=False)


def fleet(client: httpx.Client, detector: str) -> dict[str, Any]:
    """Return what stands where for a detector of the family `generic`."""
    models = client.get("/api/models/").raise_for_status().json()["models"]
    # Without a replica that answers the model is not listed.
    found = [model["fleet"] or {} for model in models if model["name"] == model_name("generic", detector)]
    return found[0] if found else {}


def settled(client: httpx.Client, detector: str, version: str) -> Callable[[], bool]:
    """Return what tells whether every replica answers with a version, and nothing is under way."""

    def holds() -> bool:
        now = fleet(client, detector)
        return set(now.get("replicas", ())) == {version} and now["live"] == version and now["rollout"] is None

    return holds


def give(access: Access, signer: Signer, detector: str, version: str, tenants: Iterable[int]) -> None:
    """Register the files of a shared version of the family `generic` once more, as each tenant's own champion."""
    api, shared = "/api/2.0/mlflow", model_name("generic", detector)
    source = Registry(access)
    files = source.download(source.release(shared, version))
    with httpx.Client(base_url=access.url, auth=access.login, timeout=60) as client:
        asked = client.get(f"{api}/model-versions/get", params={"name": shared, "version": version}).raise_for_status()
        known = asked.json()["model_version"]
        place, tags = known["source"], [tag for tag in known["tags"] if tag["key"] == "sha256"]
        for tenant in tenants:
            name = model_name("generic", detector, tenant)
            body = {"name": name, "source": place, "model_id": place.removeprefix("models:/"), "tags": tags}
            client.post(f"{api}/registered-models/create", json={"name": name})  # it may be there already
            made = client.post(f"{api}/model-versions/create", json=body).raise_for_status().json()["model_version"]
            source.note(name, str(made["version"]), **{SIGNATURE: signer.sign(name, str(made["version"]), files)})
            alias = {"name": name, "alias": "champion", "version": str(made["version"])}
            client.post(f"{api}/registered-models/alias", json=alias).raise_for_status()
