"""Rules of tenants' own models on the running service: who gets which, whatever is sent, and again in a replay."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from pipelines.datasets.simulator import simulate
from pipelines.detectors.members import registry
from serve_app.shared.registry_access import access_of, signer_of
from serve_app.store.repository import Store
from tests.serve.promotions import give, registry_of
from tests.serve.service import Service
from tests.serve.test_service import detect, eventually

PASSWORD = "own-models-password-1"
DETECTOR = "adaptive"


def window(seed: int) -> dict[str, list[float]]:
    return {name: samples.tolist() for name, samples in simulate("healthy", 0, 5, seed).values.items()}


@contextmanager
def house(service: Service, name: str) -> Iterator[tuple[httpx.Client, int, int]]:
    """A tenant's engineer; yield the client, the tenant and a system of it."""
    service.hdx("user", "create", name, "--email", f"{name}@example.com", "--role", "engineer",
                "--tenant", name, "--password", PASSWORD)  # fmt: skip
    url = json.loads((service.home / "run.json").read_text(encoding="utf-8"))["database_url"]

    async def tenant_of() -> int:
        store = Store.open(url, 1)
        try:
            return await store.tenants.ensure(name)
        finally:
            await store.close()

    with service.client(name, PASSWORD) as client:
        made = client.post("/api/systems/", json={"name": "press", "family": "generic"}).raise_for_status()
        yield client, asyncio.run(tenant_of()), made.json()["system_id"]


def versions(answer: dict[str, Any]) -> dict[str, str]:
    return {vote["ml_model"]: vote["version"] for vote in answer["ml_predictions"]}


def test_an_own_model_judges_its_tenant_alone(service: Service) -> None:
    """One tenant's windows meet its own model, another's the shared ones, and replays say the same again."""
    settings = service.settings
    live = registry_of(service).state(f"hdx-generic-{DETECTOR}").live
    with house(service, "owning") as (owner, tenant, mine), house(service, "sharing") as (other, _, theirs):
        give(access_of(settings), signer_of(settings), DETECTOR, live, [tenant])
        assert eventually(lambda: versions(detect(owner, mine, window(0)))[DETECTOR] == f"t{tenant}/1")
        other.headers.update({"serve_multiplexed_model_id": f"generic/t{tenant}/1", "x-tenant-id": str(tenant)})
        answers = [(detect(owner, mine, window(n)), detect(other, theirs, window(n))) for n in range(1, 9)]
        for own, shared in answers:
            assert versions(own) == versions(shared) | {DETECTOR: f"t{tenant}/1"}
            assert not any("/" in version for version in versions(shared).values())
        assert set(versions(answers[0][1])) == set(registry())
        for client, place in ((owner, 0), (other, 1)):
            replies = [client.post(f"/api/diagnostics/{pair[place]['trace_id']}/replay/").json() for pair in answers]
            assert [reply for reply in replies if not reply.get("identical")] == []
            assert client.post(f"/api/diagnostics/{answers[0][1 - place]['trace_id']}/replay/").status_code == 404
        items = [{"system_id": theirs, "sensor_data": window(20)}, {"system_id": mine, "sensor_data": window(20)}]
        results = other.post("/api/diagnostics/anomaly/detect/batch/", json={"items": items}).json()["results"]
        assert not any("/" in version for version in versions(results[0]).values())
        assert results[1]["status"] == 404
        key = {"X-Internal-API-Key": service.secret("HDX_ML_INTERNAL_API_KEY")}
        body = {"sensor_data": {"system_id": mine, **window(21)}}
        inner = other.post("/internal/ml/api/v1/predict", json=body, headers=key).raise_for_status()
        assert not any("/" in version for version in versions(inner.json()).values())
        named = other.post("/internal/ml/api/v1/predict", json=body | {"tenant_id": tenant}, headers=key)
        assert (named.status_code, named.json()["field"]) == (422, "tenant_id"), named.text
