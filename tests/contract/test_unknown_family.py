"""Rules for a system that outlives its family: it is told so by name, and nothing else suffers."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipelines.diagnosis.records import MemberStatus
from pipelines.drift.monitor import Drift, DriftState
from pipelines.promotion.rollout import ModelState
from serve_app.shared.fleet import FleetModel
from tests.contract.calls import DETECT, WINDOW, LogIn, assert_problem
from tests.contract.stand_ins import Bench

GONE = "removed"


def check(problem: dict[str, Any]) -> None:
    assert (problem["field"], problem["value"]) == ("family", GONE)
    assert problem["rule"] == "must be one of generic, rig, water-loop"


@pytest.fixture
def outlived(bench: Bench) -> None:
    """System 1 of a family that is no longer shipped."""
    tenant, system = bench.store.owned[1]
    bench.store.owned[1] = (tenant, replace(system, family=GONE))


@pytest.mark.usefixtures("outlived")
@pytest.mark.parametrize("path", [DETECT, "/api/diagnostics/diagnose/"])
def test_a_window_of_it_is_a_conflict_that_names_the_family(
    client: TestClient, headers: LogIn, bench: Bench, path: str
) -> None:
    """Nothing is judged and nothing stored; the failure is counted under its code."""
    check(assert_problem(client.post(path, json=WINDOW, headers=headers()), 409, "unknown-family"))
    assert (bench.diagnoser.asked, bench.store.recorded) == ([], [])
    assert ("failed", "unknown-family") in bench.metrics.calls


def test_its_item_fails_alone(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """In a batch the others have their answers."""
    bench.store.owned[3] = (1, replace(bench.store.owned[1][1], system_id=3, family=GONE))
    items = [WINDOW, {**WINDOW, "system_id": 3}]
    answer, problem = client.post(f"{DETECT}batch/", json={"items": items}, headers=headers()).json()["results"]
    assert answer["prediction"]["anomaly_score"] == 0.23
    assert problem["status"] == 409
    assert (problem["field"], problem["value"]) == ("items[1].family", GONE)


def test_its_old_answers_are_read_and_not_given_again(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """What was answered stays readable, a verdict on it is kept; to judge it again takes the family."""
    admin = headers("admin")
    bench.diagnoser.alarm = True
    trace_id = client.post(DETECT, json=WINDOW, headers=admin).json()["trace_id"]
    (tenant, stored, learned), system = bench.store.recorded[-1], bench.store.owned[1][1]
    bench.store.recorded[-1] = (tenant, replace(stored, family=GONE), learned)
    bench.store.owned[1] = (1, replace(system, family=GONE))
    path = f"/api/diagnostics/{trace_id}/"
    assert client.get(path, headers=admin).status_code == 200
    check(assert_problem(client.post(f"{path}replay/", headers=admin), 409, "unknown-family"))
    verdict = {"verdict": "confirmed"}
    assert client.post(f"{path}feedback/", json=verdict, headers=admin).status_code == 200
    named = client.post(f"{path}feedback/", json={**verdict, "component": "pump"}, headers=admin)
    check(assert_problem(named, 409, "unknown-family"))
    question = {"query": "why?", "system_id": 1}
    assert client.post("/api/rag/query/", json=question, headers=admin).status_code == 200


@pytest.mark.usefixtures("outlived")
def test_the_system_itself_is_kept_like_any_other(client: TestClient, headers: LogIn) -> None:
    """It is listed, read, renamed and deleted."""
    admin = headers("admin")
    assert client.get("/api/systems/", headers=admin).json()["systems"][0]["family"] == GONE
    assert client.get("/api/systems/1/", headers=admin).json()["family"] == GONE
    assert client.patch("/api/systems/1/", json={"name": "Old press"}, headers=admin).json()["name"] == "Old press"
    assert client.delete("/api/systems/1/", headers=admin).status_code == 204


def test_its_models_and_their_drift_are_listed(
    client: TestClient, headers: LogIn, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trained version of the family may still be in the registry and in the replicas."""
    state = ModelState(f"hdx-{GONE}-catboost", "1", "1", "", True, None)
    drift = DriftState(GONE, "", 40, (Drift("input", 9.0, 5.0, True, 7, "pressure level, up", True),))

    async def fleet() -> list[FleetModel]:
        return [FleetModel(GONE, "catboost", state, {"1": 1}, None, (drift,))]

    monkeypatch.setattr(bench.promotions, "fleet", fleet)
    bench.diagnoser.statuses.append(MemberStatus("catboost", GONE, "1", "ab" * 32, False, "no such family"))
    models = client.get("/api/models/", headers=headers()).json()["models"]
    [shown] = [model for model in models if model["family"] == GONE]
    assert (shown["usable"], shown["fleet"]["live"]) == (False, "1")
