"""What people say of answers: what is taken, what is refused, and what is left behind."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from serve_app.api.schemas.families import EXAMPLE
from serve_app.api.schemas.feedback import FeedbackReply
from tests.contract.calls import DETECT, WINDOW, LogIn, assert_problem
from tests.contract.stand_ins import API_KEY, Bench


def judged(client: TestClient, headers: LogIn, bench: Bench, alarm: bool) -> str:
    """Let a window be judged; return where its feedback goes."""
    bench.diagnoser.alarm = alarm
    answer = client.post(DETECT, json=WINDOW, headers=headers()).json()
    return f"/api/diagnostics/{answer['trace_id']}/feedback/"


@pytest.mark.parametrize(
    ("alarm", "verdict", "anomalous"),
    [(True, "confirmed", True), (True, "false_alarm", False), (False, "missed", True), (False, "confirmed", False)],
)
def test_a_verdict_is_kept(
    client: TestClient, headers: LogIn, bench: Bench, alarm: bool, verdict: str, anomalous: bool
) -> None:
    """The answer says what is stored, by whom, and what it means for the window."""
    place = judged(client, headers, bench, alarm)
    body = {"verdict": verdict, "note": "case drain measured"} | ({"component": "pump"} if anomalous else {})
    reply = client.post(place, json=body, headers=headers())
    assert reply.status_code == 200
    FeedbackReply.model_validate(reply.json())
    shown = {key: value for key, value in reply.json().items() if key != "created_at"}
    trace_id = place.split("/")[3]
    component = "pump" if anomalous else None
    assert shown == body | {
        "trace_id": trace_id,
        "anomalous": anomalous,
        "component": component,
        "actor": "operator",
    }
    ((tenant_id, kept),) = [(tenant, said) for (tenant, _), said in bench.store.said.items()]
    assert (tenant_id, kept.verdict, kept.component) == (1, verdict, component)


@pytest.mark.parametrize(
    ("alarm", "body", "field", "value", "rule"),
    [
        (False, {"verdict": "false_alarm"}, "verdict", "false_alarm", "was no alarm"),
        (True, {"verdict": "missed"}, "verdict", "missed", "was an alarm"),
        (True, {"verdict": "confirmed", "component": "gearbox"}, "component", "gearbox", "must be one of pump, "),
        (True, {"verdict": "false_alarm", "component": "pump"}, "component", "pump", "nothing was wrong"),
        (False, {"verdict": "confirmed", "component": "pump"}, "component", "pump", "nothing was wrong"),
        (True, {"verdict": "right"}, "verdict", "right", "confirmed"),
        (True, {}, "verdict", ..., "is required"),
        (True, {"verdict": "confirmed", "note": "x" * 2001}, "note", "x" * 80, "2000"),
        (True, {"verdict": "confirmed", "note": "a\x00b"}, "note", "a\x00b", "NUL"),
        (True, {"verdict": "confirmed", "tenant_id": 2}, "tenant_id", 2, "not a known field"),
    ],
)
def test_what_does_not_fit_is_named(
    client: TestClient,
    headers: LogIn,
    bench: Bench,
    alarm: bool,
    body: dict[str, Any],
    field: str,
    value: object,
    rule: str,
) -> None:
    """A verdict that contradicts the answer, or a component that cannot be: field, value and rule; nothing is kept."""
    place = judged(client, headers, bench, alarm)
    problem = assert_problem(client.post(place, json=body, headers=headers()), 422, "invalid-input")
    assert problem["field"] == field
    assert value is ... or problem["value"] == value
    assert rule in problem["rule"]
    assert bench.store.said == {}


def test_of_a_family_of_ones_own_any_word_names_the_part(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """What people call the part is kept as they say it; what cannot be shown, or is longer than a name, is refused."""
    engineer = headers("engineer")
    assert client.post("/api/families/", json={"name": "press", **EXAMPLE}, headers=engineer).status_code == 201
    new = {"name": "Press", "family": "press"}
    system = client.post("/api/systems/", json=new, headers=engineer).json()["system_id"]
    bench.diagnoser.alarm = True
    body = {"system_id": system, "sensor_data": {"pressure": [180.0, 181.0, 179.5]}}
    trace_id = client.post(DETECT, json=body, headers=engineer).json()["trace_id"]
    place = f"/api/diagnostics/{trace_id}/feedback/"
    for component in ("Уплотнение 2", "main pump"):
        said = client.post(place, json={"verdict": "confirmed", "component": component}, headers=engineer)
        assert (said.status_code, said.json()["component"]) == (200, component)
    for component in ("../x", "", "a\x07b", "x" * 65):
        wrong = client.post(place, json={"verdict": "confirmed", "component": component}, headers=engineer)
        assert assert_problem(wrong, 422, "invalid-input")["field"] == "component"
    wrong = client.post(place, json={"verdict": "false_alarm", "component": "main pump"}, headers=engineer)
    assert "nothing was wrong" in assert_problem(wrong, 422, "invalid-input")["rule"]


def test_an_abstention_cannot_be_confirmed(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Where nobody judged there is nothing to confirm; that something was wrong can still be said."""
    bench.diagnoser.abstained = "insufficient data"
    place = judged(client, headers, bench, alarm=False)
    problem = assert_problem(client.post(place, json={"verdict": "confirmed"}, headers=headers()), 422, "invalid-input")
    assert "nothing to confirm" in problem["rule"]
    assert client.post(place, json={"verdict": "missed"}, headers=headers()).json()["anomalous"]


def test_the_last_word_counts(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A second verdict on the same answer stands in place of the first; an API key may give it too."""
    place = judged(client, headers, bench, alarm=True)
    assert client.post(place, json={"verdict": "confirmed"}, headers=headers("engineer")).status_code == 200
    second = client.post(place, json={"verdict": "false_alarm"}, headers={"x-api-key": API_KEY})
    assert (second.status_code, second.json()["actor"]) == (200, "line 4")
    assert [said.verdict for said in bench.store.said.values()] == ["false_alarm"]


def test_only_the_tenants_own_answers(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Another tenant's answer reads as one that does not exist."""
    place = judged(client, headers, bench, alarm=True)
    body = {"verdict": "confirmed"}
    assert_problem(client.post(place, json=body, headers=headers("stranger")), 404, "not-found")
    absent = f"/api/diagnostics/{uuid4()}/feedback/"
    assert_problem(client.post(absent, json=body, headers=headers()), 404, "not-found")
    problem = assert_problem(
        client.post("/api/diagnostics/x/feedback/", json=body, headers=headers()), 422, "invalid-input"
    )
    assert problem["field"] == "trace_id"
    assert bench.store.said == {}


def test_a_viewer_says_nothing(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Who may only read is refused."""
    place = judged(client, headers, bench, alarm=True)
    assert_problem(client.post(place, json={"verdict": "confirmed"}, headers=headers("viewer")), 403, "forbidden")
