"""Detect on its public and its internal face: what is answered, stored, counted and kept in the cache."""

from uuid import uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipelines.detectors.members import registry
from pipelines.errors import NoQuorum
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Normal
from serve_app.api.ports import Asked
from serve_app.api.schemas.assistant import QueryReply
from serve_app.api.schemas.base import HEALTHY
from serve_app.api.schemas.detection import DetectReply
from serve_app.api.schemas.replay import StoredReply
from tests.contract.calls import (
    DETECT,
    DETECT_KEYS,
    INTERNAL,
    PREDICT,
    PREDICTION,
    WINDOW,
    LogIn,
    assert_problem,
)
from tests.contract.stand_ins import LEARNED, RAG_KEY, Bench


class TestDetect:
    """One window."""

    def test_the_answer_has_the_shape_of_the_contract(self, client: TestClient, headers: LogIn) -> None:
        """Every key of the contract, in its order, and none besides."""
        reply = client.post(DETECT, json=WINDOW, headers=headers())
        assert reply.status_code == 200
        answer = reply.json()
        assert list(answer) == DETECT_KEYS
        DetectReply.model_validate(answer)
        assert answer["system_id"] == 1
        assert answer["prediction"] == {
            "is_anomaly": False,
            "anomaly_score": 0.23,
            "severity": "normal",
            "confidence": 0.88,
            "affected_components": [],
            "anomaly_type": None,
            "components": [{"component": "pump", "probability": 0.1, "grade": 0}],
            "attribution_base": 0.0,
            "abstained": False,
            "reason": None,
        }
        assert answer["ensemble_score"] == 0.23
        assert [vote["ml_model"] for vote in answer["ml_predictions"]] == list(registry())
        assert set(answer["ml_predictions"][0]) == {
            "ml_model",
            "version",
            "prediction_score",
            "confidence",
            "weight",
            "processing_time_ms",
        }
        [share] = answer["attribution"]
        assert (share["channel"], share["contribution"], share["direction"]) == ("pressure", -0.4, "low")
        assert share["deviation"]["text"] == "pressure 2.5 bar below its normal 100"
        assert answer["cache_hit"] is False
        assert answer["trace_id"] == reply.headers["x-request-id"]

    def test_a_window_nobody_can_judge(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """It is answered without a score, says why, and leaves the system's state as it was."""
        bench.diagnoser.alarm = True
        assert client.post(DETECT, json=WINDOW, headers=headers()).json()["prediction"]["is_anomaly"]
        assert client.get("/api/systems/1/", headers=headers()).json()["is_anomaly"]
        bench.diagnoser.abstained = "outside the range the models know (catboost)"
        other = {**WINDOW, "sampling_hz": 2.0}
        answer = client.post(DETECT, json=other, headers=headers()).json()
        DetectReply.model_validate(answer)
        assert (answer["prediction"]["anomaly_score"], answer["ensemble_score"]) == (None, None)
        assert (answer["prediction"]["severity"], answer["prediction"]["is_anomaly"]) == ("unknown", False)
        assert answer["prediction"]["reason"] == bench.diagnoser.abstained
        assert bench.diagnoser.asked[-1].alarm
        assert client.get("/api/systems/1/", headers=headers()).json()["is_anomaly"]

    def test_an_abstention_is_named_with_its_reason(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """A detector that did not vote stands in the answer without a score."""
        bench.diagnoser.absent = {"xgboost": "artefact is missing"}
        answer = client.post(DETECT, json=WINDOW, headers=headers()).json()
        [silent] = [vote for vote in answer["ml_predictions"] if vote["ml_model"] == "xgboost"]
        assert silent["prediction_score"] is None
        assert silent["reason"] == "artefact is missing"
        assert len(answer["ml_predictions"]) == len(registry())

    def test_a_diagnosis_can_be_read_back(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """What was answered is stored with its window under its trace id, and teaches the baseline."""
        answer = client.post(DETECT, json=WINDOW, headers=headers()).json()
        reply = client.get(f"/api/diagnostics/{answer['trace_id']}/", headers=headers("viewer"))
        assert reply.status_code == 200
        stored = reply.json()
        StoredReply.model_validate(stored)
        assert stored["answer"] == answer
        assert stored["window"]["values"] == HEALTHY
        assert bench.store.recorded[0][2] is LEARNED

    def test_another_tenant_cannot_read_it(self, client: TestClient, headers: LogIn) -> None:
        """A diagnosis of another tenant reads as one that does not exist."""
        trace_id = client.post(DETECT, json=WINDOW, headers=headers()).json()["trace_id"]
        foreign = client.get(f"/api/diagnostics/{trace_id}/", headers=headers("stranger"))
        absent = client.get(f"/api/diagnostics/{uuid4()}/", headers=headers("stranger"))
        assert_problem(foreign, 404, "not-found")
        assert_problem(absent, 404, "not-found")

    @pytest.mark.parametrize("system_id", [2, 999])
    def test_foreign_and_unknown_systems_are_not_found(
        self, client: TestClient, headers: LogIn, bench: Bench, system_id: int
    ) -> None:
        """404, not 403: a caller does not learn that another tenant's system exists."""
        problem = assert_problem(
            client.post(DETECT, json={**WINDOW, "system_id": system_id}, headers=headers()), 404, "not-found"
        )
        assert (problem["field"], problem["value"]) == ("system", str(system_id))
        assert bench.store.recorded == []
        assert bench.diagnoser.asked == []

    def test_what_is_stored_is_what_was_sent(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """The row holds the very bytes of the answer: nobody reads and writes a finding again on its way."""
        reply = client.post(DETECT, json=WINDOW, headers=headers())
        [(_, stored, _)] = bench.store.recorded
        assert stored.answer == reply.content

    def test_an_identical_window_comes_from_the_cache(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """A hit is a diagnosis of its own under its own trace id, and teaches nothing."""
        token = headers()
        first, second = (client.post(DETECT, json=WINDOW, headers=token).json() for _ in range(2))
        assert (first["cache_hit"], second["cache_hit"]) == (False, True)
        assert first["trace_id"] != second["trace_id"]
        assert first["prediction"] == second["prediction"]
        assert len(bench.diagnoser.asked) == 1
        assert [learned for _, _, learned in bench.store.recorded] == [LEARNED, None]
        assert [call for call in bench.metrics.calls if call[0] == "looked_up"] == [
            ("looked_up", False),
            ("looked_up", True),
        ]

    def test_a_cached_answer_keeps_its_own_baseline(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """The evidence of a hit is the baseline that the answer followed from, and not the one of its own moment."""
        token = headers()
        first, later = (Normal.of(Baseline(np.full(2, count), np.ones(2), np.ones(2))) for count in (3.0, 4.0))
        bench.store.normals[1] = first
        client.post(DETECT, json=WINDOW, headers=token)
        bench.store.normals[1] = later
        assert client.post(DETECT, json=WINDOW, headers=token).json()["cache_hit"] is True
        assert [stored.baseline for _, stored, _ in bench.store.recorded] == [first.to_bytes()] * 2

    def test_a_promotion_makes_cached_answers_unreachable(
        self, client: TestClient, headers: LogIn, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once the replicas report a new version, the old version's answer is not served."""
        token = headers()
        client.post(DETECT, json=WINDOW, headers=token)
        bench.diagnoser.promote("2")
        monkeypatch.setattr(client.app.state.detection._versions, "_asked", float("-inf"))  # type: ignore[attr-defined]
        answer = client.post(DETECT, json=WINDOW, headers=token).json()
        assert answer["cache_hit"] is False
        assert {vote["version"] for vote in answer["ml_predictions"]} == {"2"}

    def test_an_answer_with_an_unreported_abstention_is_not_reused(
        self, client: TestClient, headers: LogIn, bench: Bench
    ) -> None:
        """While the replicas report all detectors usable, an answer that lacks one is judged anew."""
        token = headers()
        bench.diagnoser.absent = {"xgboost": "no vote within 5 s"}
        client.post(DETECT, json=WINDOW, headers=token)
        bench.diagnoser.absent = {}
        assert client.post(DETECT, json=WINDOW, headers=token).json()["cache_hit"] is False

    def test_no_quorum_is_told_and_nothing_is_stored(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Too few votes is a 503 that names the part, is counted, and leaves no row."""
        bench.diagnoser.failure = NoQuorum("ensemble", "1 of 4 detectors voted, 2 are needed")
        assert_problem(client.post(DETECT, json=WINDOW, headers=headers()), 503, "no-quorum")
        assert bench.store.recorded == []
        assert ("failed", "no-quorum") in bench.metrics.calls

    def test_an_answered_window_is_counted(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Family and outcome of each window are counted."""
        client.post(DETECT, json=WINDOW, headers=headers())
        assert ("answered", "generic", False) in bench.metrics.calls


class TestBatch:
    """Many windows."""

    def test_one_bad_window_fails_alone(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """At each index stands an answer or that item's own problem; only answers are stored."""
        bad = {"system_id": 1, "sensor_data": {"pressure": [1.0, "x", 3.0]}}
        items = [WINDOW, bad, {"system_id": 2, "sensor_data": HEALTHY}, {"sensor_data": HEALTHY}]
        reply = client.post(DETECT + "batch/", json={"items": items}, headers=headers())
        assert reply.status_code == 200
        answer, malformed, foreign, incomplete = reply.json()["results"]
        assert list(answer) == DETECT_KEYS
        assert (malformed["status"], malformed["field"]) == (422, "items[1].sensor_data.pressure[1]")
        assert (foreign["status"], foreign["field"]) == (404, "items[2].system")
        assert (incomplete["status"], incomplete["field"]) == (422, "items[3].system_id")
        assert len(bench.store.recorded) == 1

    def test_each_answer_has_its_own_trace_id(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Each window of a batch is stored, and can be read back, under its own trace id."""
        reply = client.post(DETECT + "batch/", json={"items": [WINDOW] * 3}, headers=headers())
        traces = {result["trace_id"] for result in reply.json()["results"]}
        assert len(traces) == 3
        assert traces == {str(stored.trace_id) for _, stored, _ in bench.store.recorded}

    def test_an_unexpected_failure_says_nothing_internal(
        self, client: TestClient, headers: LogIn, bench: Bench
    ) -> None:
        """An item that meets a bug is an internal error at its place, without the exception's text."""
        bench.diagnoser.failure = RuntimeError("password=hunter2 at /srv/secret.py")
        reply = client.post(DETECT + "batch/", json={"items": [WINDOW]}, headers=headers())
        assert reply.json()["results"][0]["type"] == "urn:hdx:problem:internal"
        assert "hunter2" not in reply.text

    @pytest.mark.parametrize("items", [[], [WINDOW] * 5])
    def test_a_batch_has_a_least_and_a_most(self, client: TestClient, headers: LogIn, items: list[object]) -> None:
        """An empty batch and one over the limit are refused as a whole."""
        problem = assert_problem(
            client.post(DETECT + "batch/", json={"items": items}, headers=headers()), 422, "invalid-input"
        )
        assert problem["field"] == "items"


class TestInternal:
    """The service-to-service face."""

    def test_one_channel_is_enough(self, client: TestClient, bench: Bench) -> None:
        """The quickstart's body is answered, the missing channels are named, and nothing is stored."""
        reply = client.post(PREDICT, json=PREDICTION, headers=INTERNAL)
        assert reply.status_code == 200
        answer = reply.json()
        DetectReply.model_validate(answer)
        assert answer["data_quality"]["missing_channels"] == ["temperature", "flow", "vibration"]
        assert answer["trace_id"] == reply.headers["x-request-id"]
        assert bench.store.recorded == []
        assert bench.diagnoser.asked[0].family == "generic"
        assert bench.diagnoser.asked[0].baseline is None

    def test_the_cache_is_used_when_wanted(self, client: TestClient, bench: Bench) -> None:
        """`use_cache: false` neither reads nor writes; left out, a repeated window is a hit."""
        for _ in range(2):
            assert client.post(PREDICT, json=PREDICTION, headers=INTERNAL).json()["cache_hit"] is False
        body = {"sensor_data": PREDICTION["sensor_data"]}
        hits = [client.post(PREDICT, json=body, headers=INTERNAL).json()["cache_hit"] for _ in range(2)]
        assert hits == [False, True]

    def test_an_unknown_family_is_refused(self, client: TestClient) -> None:
        """The field is named."""
        body = {"sensor_data": {"system_id": 1, "family": "saw", "pressure": [1, 2, 3]}}
        problem = assert_problem(client.post(PREDICT, json=body, headers=INTERNAL), 422, "invalid-input")
        assert problem["field"] == "sensor_data.family"

    def test_a_batch_isolates_its_items(self, client: TestClient) -> None:
        """A bad item fails alone."""
        bad = {"sensor_data": {"system_id": 1, "pressure": [1.0, None, 3.0]}}
        reply = client.post(PREDICT + "/batch", json={"items": [bad, PREDICTION]}, headers=INTERNAL)
        problem, answer = reply.json()["results"]
        assert problem["field"] == "items[0].sensor_data.pressure[1]"
        assert list(answer) == [key for key in DETECT_KEYS if key != "system"]  # it is nobody's

    def test_questions_go_to_the_built_in_knowledge(self, client: TestClient, bench: Bench) -> None:
        """No tenant's documents are searched."""
        reply = client.post(
            "/internal/rag/api/v1/query", json={"query": "why"}, headers={"x-internal-api-key": RAG_KEY}
        )
        QueryReply.model_validate(reply.json())
        assert bench.assistant.asked == [Asked(0, "why", 3)]

    def test_metrics_are_prometheus_text(self, client: TestClient) -> None:
        """The scrape of all nodes is passed on."""
        reply = client.get("/metrics", headers=INTERNAL)
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "ml_predictions_total 1" in reply.text
