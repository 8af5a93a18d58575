"""Rules of the models' face: what is shown, who may move what, and whom MLflow's messages are believed."""

import base64
import hashlib
import hmac
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipelines.drift.monitor import Drift, DriftState
from pipelines.errors import Conflict, Unavailable
from pipelines.promotion.rollout import PromotionRequest, Rollout
from serve_app.shared.credentials import webhook_secret
from tests.contract.calls import LogIn
from tests.contract.stand_ins import Bench

MODEL = "/api/models/hdx-generic-catboost/"
HEAR = "/internal/mlflow/webhook"


def listed(client: TestClient, headers: LogIn) -> dict[str, Any]:
    models = client.get("/api/models/", headers=headers("viewer")).json()["models"]
    found: dict[str, Any] = next(model for model in models if model["detector"] == "catboost")
    return found


def test_what_stands_where_is_shown(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Beside what a replica holds stands what the fleet does, and how far a new version has come."""
    found = listed(client, headers)
    assert list(found) == ["name", "family", "detector", "version", "sha256", "usable", "reason", "fleet"]
    fleet = found["fleet"]
    assert fleet == {"champion": "2", "live": "2", "previous": "1", "replicas": {"2": 3}, "rollout": None, "drift": []}
    bench.promotions.rollout = Rollout("3", "canary", 1767225600.0)
    assert listed(client, headers)["fleet"]["rollout"] == {
        "version": "3",
        "stage": "canary",
        "since": "2026-01-01T00:00:00+00:00",
        "windows": 40,
        "errors": 2,
        "disagreements": 1,
        "answered": 3,
    }
    bench.promotions.evidence = None
    assert listed(client, headers)["fleet"]["rollout"] is None


def test_drift_is_told_to_its_tenant_alone(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A family's drift is everybody's, a system's its tenant's, and no tenant's id is taken for the start of another's.

    Only kinds that do drift are listed.
    """
    moved = Drift("input", 9.0, 5.0, True, 12, "flow level, up", True)
    quiet = Drift("score", 1.0, 5.0, False, 0, "", True)
    systems = ("", "1/7", "10/8", "2/9", "11/1")
    bench.promotions.drift = tuple(DriftState("generic", system, 50, (quiet, moved)) for system in systems)
    shown = {"kind": "input", "what": "flow level, up", "since": 12, "statistic": 9.0, "threshold": 5.0}
    assert listed(client, headers)["fleet"]["drift"] == [{"system_id": None} | shown, {"system_id": 7} | shown]


def test_without_a_promoter_the_replicas_are_still_shown(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """What nobody can tell is null, and not a guess."""
    bench.promotions.failure = Unavailable("promoter", "no reply")
    found = listed(client, headers)
    assert (found["version"], found["fleet"]) == ("1", None)


def test_an_administrator_promotes_and_goes_back(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """The request carries who asked; both calls are in the audit."""
    admin = headers("admin")
    assert client.post(MODEL + "promote/", json={"version": "3"}, headers=admin).json() == {
        "name": "hdx-generic-catboost",
        "version": "3",
    }
    assert client.post(MODEL + "rollback/", headers=admin).status_code == 202
    name = "hdx-generic-catboost"
    assert bench.promotions.requests == [PromotionRequest(name, "3", "admin"), PromotionRequest(name, "", "admin")]
    moved = ["model.promote.asked", "model.promote", "model.rollback.asked", "model.rollback"]
    assert [entry[2] for entry in bench.store.audited[-4:]] == moved


def test_an_urgent_skip_is_named_and_written_down(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Without a reason it is refused; with one, request and audit say that gates were skipped and why."""
    admin, body = headers("admin"), {"version": "3", "urgent": True}
    refused = client.post(MODEL + "promote/", json=body, headers=admin)
    assert refused.status_code in {400, 422}
    assert "reason" in refused.text
    assert client.post(MODEL + "promote/", json=body | {"reason": "line 4"}, headers=admin).status_code == 202
    assert bench.promotions.requests == [PromotionRequest("hdx-generic-catboost", "3", "admin", "line 4")]
    assert "promote.urgent" in str(bench.store.audited[-1])


@pytest.mark.parametrize("role", ["engineer", "operator", "viewer", "stranger"])
@pytest.mark.parametrize("step", ["promote", "rollback"])
def test_nobody_else_moves_a_shared_model(
    client: TestClient, headers: LogIn, bench: Bench, role: str, step: str
) -> None:
    """Neither another role nor another tenant's administrator: it judges everybody's machines."""
    reply = client.post(f"{MODEL}{step}/", json={"version": "3"} if step == "promote" else None, headers=headers(role))
    assert reply.status_code == 403
    assert bench.promotions.requests == []


def test_a_tenant_moves_its_own_model_alone(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A model that is one tenant's is moved by that tenant's administrator, not by those of the shared models."""
    route = "/api/models/hdx-generic-catboost.t2/promote/"
    assert client.post(route, json={"version": "3"}, headers=headers("admin")).status_code == 403
    assert client.post(route, json={"version": "3"}, headers=headers("stranger")).status_code == 202
    assert bench.promotions.requests == [PromotionRequest("hdx-generic-catboost.t2", "3", "stranger")]


def test_what_is_not_there_is_said(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """An unknown version is 404, one that is no number is refused by name, and nothing to go back to is a conflict."""
    admin = headers("admin")
    assert client.post(MODEL + "promote/", json={"version": "9"}, headers=admin).status_code == 404
    assert "version" in client.post(MODEL + "promote/", json={"version": "latest"}, headers=admin).text
    bench.promotions.failure = Conflict("model", "hdx-generic-catboost", "must have a previous version")
    assert client.post(MODEL + "rollback/", headers=admin).status_code == 409


NAMED = b'{"entity": "model_version_alias", "data": {"name": "hdx-generic-catboost"}}'


def message(
    bench: Bench, secret: str | None = None, age_s: float = 0, body: bytes = NAMED
) -> tuple[bytes, dict[str, str]]:
    """A message as MLflow signs it."""
    stamp, delivery = str(int(time.time() - age_s)), "delivery-1"
    key = secret or webhook_secret(bench.services.settings.secret_key.get_secret_value())
    signed = hmac.new(key.encode(), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return body, {
        "content-type": "application/json",
        "x-mlflow-delivery-id": delivery,
        "x-mlflow-timestamp": stamp,
        "x-mlflow-signature": "v1," + base64.b64encode(signed).decode(),
    }


def test_mlflow_is_heard(client: TestClient, bench: Bench) -> None:
    """A signed message makes the promoter look at the model that it names."""
    body, signed = message(bench)
    assert client.post(HEAR, content=body, headers=signed).status_code == 202
    assert bench.promotions.looked == ["hdx-generic-catboost"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 1}', b'{"data": {}}'])
def test_a_message_about_nothing_looks_at_everything(client: TestClient, bench: Bench, body: bytes) -> None:
    """A signed message that names no model is heard all the same: the promoter looks at all of them."""
    content, signed = message(bench, body=body)
    assert client.post(HEAR, content=content, headers=signed).status_code == 202
    assert bench.promotions.looked == [""]


def test_nobody_else_is_heard(client: TestClient, bench: Bench) -> None:
    """Another key, another body, an old message, and none at all are refused alike."""
    body, signed = message(bench)
    forged = message(bench, secret="guess")[1]
    old = message(bench, age_s=3600)[1]
    tries = [(body, forged), (body + b" ", signed), (body, old), (body, {"content-type": "application/json"})]
    tries.append((body, signed | {"x-mlflow-timestamp": "9" * 400}))
    for content, given in tries:
        assert client.post(HEAR, content=content, headers=given).status_code == 403
    assert bench.promotions.looked == []
