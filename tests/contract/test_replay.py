"""Rules of evidence and replay: what an answer followed from is kept, and a replay shows what is not the same."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import orjson
from fastapi.testclient import TestClient

from pipelines.diagnosis.records import PointFinding
from pipelines.machines.baseline import Baseline
from tests.contract.calls import DETECT, INTERNAL, PREDICT, PREDICTION, WINDOW, LogIn
from tests.contract.stand_ins import Bench


def test_an_answer_keeps_its_evidence(client: TestClient, headers: LogIn) -> None:
    """Versions, weights, threshold, state and baseline stand beside window and answer."""
    admin = headers("admin")
    trace_id = client.post(DETECT, json=WINDOW, headers=admin).json()["trace_id"]
    evidence = client.get(f"/api/diagnostics/{trace_id}/", headers=admin).json()["evidence"]
    assert set(evidence["versions"].values()) == {"1"}
    assert set(evidence["weights"]) == set(evidence["versions"])
    assert (evidence["alarm"], evidence["passages"]) == (False, [])


def test_a_baseline_reads_back_bit_for_bit() -> None:
    """What is kept of a baseline is its very numbers, with its first normal or without."""
    numbers = np.array([[0.1, 2.0], [1 / 3, 5e-324], [1e300, 0.0]])
    for origin in (None, np.array([0.2, np.nan])):
        again = Baseline.from_bytes(Baseline(numbers[0], numbers[1], numbers[2], origin).to_bytes())
        np.testing.assert_array_equal([again.count, again.total, again.squares], numbers)
        if origin is None:
            assert again.origin is None
        else:
            np.testing.assert_array_equal(again.origin, origin)


def test_advice_keeps_hashes_of_what_it_read(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A repair that was asked for leaves where its passages stand and what they said, as a hash; streamed or not."""
    bench.diagnoser.alarm = True
    admin = headers("admin")
    for accept in ("application/json", "text/event-stream"):
        reply = client.post("/api/diagnostics/diagnose/", json=WINDOW, headers=admin | {"accept": accept})
        trace_id = reply.headers["x-request-id"]
        passages = client.get(f"/api/diagnostics/{trace_id}/", headers=admin).json()["evidence"]["passages"]
        assert len(passages) == 3
        assert (passages[0]["document_id"], len(passages[0]["sha256"])) == ("d1", 64)


def test_a_replay_asks_the_versions_of_that_day(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """After a promotion it is still the old versions that are asked, with the old baseline and state."""
    admin = headers("admin")
    trace_id = client.post(DETECT, json=WINDOW, headers=admin).json()["trace_id"]
    bench.diagnoser.promote("2")
    bench.diagnoser.version = "1"
    reply = client.post(f"/api/diagnostics/{trace_id}/replay/", headers=admin).json()
    assert (reply["identical"], reply["differences"]) == (True, [])
    assert {version for _, version in bench.diagnoser.asked[-1].versions} == {"1"}


def test_a_replay_knows_which_operating_point_it_was(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Only the point that a window was judged by is stored: its number is that of the answer, and nothing else is."""
    admin = headers("admin")
    trace_id = client.post(DETECT, json=WINDOW, headers=admin).json()["trace_id"]
    tenant, stored, learned = bench.store.recorded[-1]
    for seen, differences in ((True, []), (False, ["operating_point.seen", "operating_point.text"])):
        then = PointFinding(2, 3, seen, f"at operating point 2 of 3, {seen}")
        answer = orjson.dumps(stored.read_answer() | {"operating_point": then._asdict()})
        bench.store.recorded[-1] = (tenant, replace(stored, answer=answer), learned)
        bench.diagnoser.point = PointFinding(1, 1, True, "at operating point 1 of 1")
        reply = client.post(f"/api/diagnostics/{trace_id}/replay/", headers=admin).json()
        assert (reply["identical"], reply["differences"]) == (seen, differences)
        assert reply["findings"]["operating_point"]["number"] == 2


def test_the_owner_is_who_calls(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Every route asks in the name of the credential's tenant, whatever is sent; the internal face in nobody's."""
    sent = headers("admin") | {"serve_multiplexed_model_id": "generic/t2/1", "x-tenant-id": "2"}
    first = client.post(DETECT, json=WINDOW, headers=sent)
    client.post(f"{DETECT}batch/", json={"items": [WINDOW]}, headers=sent)
    client.post("/api/diagnostics/diagnose/", json=WINDOW, headers=sent)
    client.post(f"/api/diagnostics/{first.json()['trace_id']}/replay/", headers=sent)
    assert {inspection.owner for inspection in bench.diagnoser.asked} == {1}
    client.post(PREDICT, json=PREDICTION, headers=sent | INTERNAL)
    assert bench.diagnoser.asked[-1].owner == 0
    assert {inspection.own for inspection in bench.diagnoser.asked} == {()}


def test_what_is_not_the_same_is_named(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A replay that differs says where."""
    admin = headers("admin")
    trace_id = client.post(DETECT, json=WINDOW, headers=admin).json()["trace_id"]
    bench.diagnoser.alarm = True
    reply = client.post(f"/api/diagnostics/{trace_id}/replay/", headers=admin).json()
    assert not reply["identical"]
    assert "prediction.is_anomaly" in reply["differences"]


def test_an_answer_without_evidence_is_not_guessed(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """One that was stored before evidence was kept is refused, and another tenant's does not exist."""
    admin = headers("admin")
    trace_id = client.post(DETECT, json=WINDOW, headers=admin).json()["trace_id"]
    assert client.post(f"/api/diagnostics/{trace_id}/replay/", headers=headers("stranger")).status_code == 404
    tenant, stored, learned = bench.store.recorded[-1]
    assert stored.trace_id == UUID(trace_id)
    object.__setattr__(stored, "alarm", None)
    bench.store.recorded[-1] = (tenant, stored, learned)
    assert client.post(f"/api/diagnostics/{trace_id}/replay/", headers=admin).status_code == 409
