"""Rules of a system's life over REST: it is commissioned, monitored, repaired, and told in every answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from rich.console import Console

from pipelines.machines import alarm as evidence
from pipelines.machines.alarm import LIMIT
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import LEAST, NEEDED, Normal
from serve_app.api.schemas.detection import DetectReply
from serve_app.api.schemas.life import BaselineReply
from serve_app.api.schemas.systems import SystemReply
from serve_app.cli.commission import baseline_table
from tests.contract.calls import DETECT, LogIn, assert_problem
from tests.contract.stand_ins import Bench

SYSTEM, BASELINE = "/api/systems/1/", "/api/systems/1/baseline/"
CALM = {"raised": False, "evidence": 0.0, "needed": pytest.approx(evidence.NEEDED), "since": None, "unseen": 0}
UNIT = {"pressure": 182.0, "temperature": 52.0, "flow": 61.0, "vibration": 1.4}


def send(client: TestClient, headers: LogIn, seed: int, factor: float = 1.0, samples: int = 10) -> dict[str, object]:
    """Send one window of a press that is no machine of our simulator's; return the answer."""
    random = np.random.default_rng(seed)
    data = {name: (level * factor * random.normal(1, 0.01, samples)).tolist() for name, level in UNIT.items()}
    reply = client.post(DETECT, json={"system_id": 1, "sensor_data": data}, headers=headers())
    assert reply.status_code == 200, reply.text
    answer: dict[str, object] = reply.json()
    DetectReply.model_validate(answer)
    return answer


def actions(bench: Bench) -> list[tuple[str, str]]:
    """Return who did what to systems, in their order."""
    return [(actor, action) for _, actor, action, _ in bench.store.audited if action.startswith("system.")]


def test_enough_windows_commission_a_system(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Each answer tells the progress; the one that is enough ends commissioning, and the next window meets a normal."""
    for number in range(1, NEEDED + 1):
        told = {"state": "commissioning", "windows": number, "needed": NEEDED, "alarm": CALM}
        assert send(client, headers, number)["system"] == told
    assert [asked.commissioning for asked in bench.diagnoser.asked] == [True] * NEEDED
    assert actions(bench) == [("commissioning", "system.commissioned")]
    assert send(client, headers, 99)["system"]["state"] == "monitoring"  # type: ignore[index]
    last = bench.diagnoser.asked[-1]
    assert (last.commissioning, last.baseline is None) == (False, False)
    shown = client.get(BASELINE, headers=headers("viewer")).json()
    BaselineReply.model_validate(shown)
    assert (shown["state"], shown["windows"], shown["left_out"]) == ("monitoring", NEEDED, 0)
    [point] = shown["operating_points"]
    assert point["windows"] == NEEDED
    assert point["channels"]["pressure"]["level"] == pytest.approx(182, rel=0.01)
    assert point["channels"]["pressure"]["unit"] == "bar"
    system = client.get(SYSTEM, headers=headers()).json()
    SystemReply.model_validate(system)
    assert (system["state"], system["windows"], system["needed"]) == ("monitoring", NEEDED, NEEDED)


def test_people_end_a_commissioning(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """With the least that is needed, and not before; a system that is commissioned must be forgotten first."""
    admin = headers("admin")
    for number in range(LEAST - 1):
        send(client, headers, number)
    problem = assert_problem(client.post(BASELINE, json={}, headers=admin), 422, "invalid-input")
    assert (problem["field"], problem["value"]) == ("windows", LEAST - 1)
    send(client, headers, LEAST)
    taught = client.post(BASELINE, json={}, headers=admin)
    assert (taught.status_code, taught.json()["state"]) == (200, "monitoring")
    assert assert_problem(client.post(BASELINE, json={}, headers=admin), 422, "invalid-input")["field"] == "state"
    assert client.delete(BASELINE, headers=admin).status_code == 204
    shown = client.get(BASELINE, headers=admin).json()
    assert (shown["state"], shown["windows"], shown["operating_points"]) == ("commissioning", 0, [])
    assert actions(bench) == [("admin", "system.commissioned"), ("admin", "system.forgotten")]


def test_a_span_of_stored_windows_teaches(client: TestClient, headers: LogIn) -> None:
    """What was stored between two moments becomes the normal; a span without enough says so."""
    admin, begun = headers("admin"), datetime.now(UTC) - timedelta(hours=1)
    for number in range(LEAST):
        send(client, headers, number)
    for ends in (begun - timedelta(hours=1), begun + timedelta(seconds=1)):
        body = {"from": begun.isoformat(), "to": ends.isoformat()}
        problem = assert_problem(client.post(BASELINE, json=body, headers=admin), 422, "invalid-input")
        assert problem["field"] in {"from", "to"}
    body = {"from": begun.isoformat(), "to": datetime.now(UTC).isoformat()}
    assert client.post(BASELINE, json=body, headers=admin).json()["state"] == "monitoring"


@pytest.mark.parametrize(
    "body",
    [
        {"from": "2026-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00"},
        {"accept": []},
        {"accept": ["x"]},
        {"accept": [str(uuid4())], "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
        {"windows": 3},
    ],
)
def test_a_body_that_says_no_one_thing_is_refused(client: TestClient, headers: LogIn, body: object) -> None:
    """Half a span, a moment without a zone, nothing to accept, two wishes at once, and a field nobody knows."""
    assert_problem(client.post(BASELINE, json=body, headers=headers("admin")), 422, "invalid-input")


def test_people_accept_an_operating_point(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Windows of another load become one more point of the normal; those of nobody's answers are not found."""
    admin = headers("admin")
    early = send(client, headers, 1)["trace_id"]
    problem = assert_problem(client.post(BASELINE, json={"accept": [early]}, headers=admin), 422, "invalid-input")
    assert problem["field"] == "accept"
    for number in range(NEEDED):
        send(client, headers, number)
    idle = [send(client, headers, 200 + number, 0.2)["trace_id"] for number in range(3)]
    shown = client.post(BASELINE, json={"accept": idle}, headers=admin).json()
    assert [point["number"] for point in shown["operating_points"]] == [1, 2]
    assert shown["operating_points"][1]["channels"]["flow"]["level"] == pytest.approx(12.2, rel=0.05)
    half = [send(client, headers, 300 + number, 0.45)["trace_id"] for number in range(2)]
    again = client.post(BASELINE, json={"accept": [half[0], half[0], half[1]]}, headers=admin).json()
    assert again["operating_points"][2]["windows"] == 2
    problem = assert_problem(client.post(BASELINE, json={"accept": half}, headers=admin), 422, "invalid-input")
    assert "these lie at operating point 3" in str(problem["detail"])
    assert_problem(client.post(BASELINE, json={"accept": [str(uuid4())]}, headers=admin), 404, "not-found")
    assert actions(bench)[-1] == ("admin", "system.accepted")


def test_a_repair_resets_the_alarm(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Windows in maintenance are no evidence; monitored again the system has none, commissioned anew no normal.

    Evidence is told beside what is needed of it, and the alarm comes when it is enough.
    """
    admin = headers("admin")
    assert assert_problem(client.patch(SYSTEM, json={"state": "monitoring"}, headers=admin), 422, "invalid-input")
    for number in range(NEEDED):
        send(client, headers, number)
    bench.diagnoser.level = 3
    answers = [send(client, headers, 100 + number) for number in range(3)]
    alarm = answers[-1]["system"]["alarm"]  # type: ignore[index]
    heights = [answer["system"]["alarm"]["evidence"] for answer in answers]  # type: ignore[index]
    assert heights[0] < heights[1] < alarm["needed"] <= heights[2]
    assert (alarm["raised"], alarm["since"] is None) == (True, False)
    assert client.get(SYSTEM, headers=admin).json()["alarm"] == alarm
    assert client.patch(SYSTEM, json={"state": "maintenance"}, headers=admin).json()["alarm"] == alarm
    assert send(client, headers, 200)["system"] == {
        "state": "maintenance",
        "windows": NEEDED,
        "needed": NEEDED,
        "alarm": alarm,
    }
    repaired = client.patch(SYSTEM, json={"state": "monitoring"}, headers=admin).json()
    assert repaired["alarm"] == CALM
    anew = client.patch(SYSTEM, json={"state": "commissioning"}, headers=admin).json()
    assert (anew["state"], anew["windows"]) == ("commissioning", 0)
    assert client.get(BASELINE, headers=admin).json()["operating_points"] == []
    bench.diagnoser.level = LIMIT
    assert send(client, headers, 300)["system"]["alarm"]["evidence"] > 0  # type: ignore[index]


def test_windows_that_nobody_judges_are_counted(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A load that commissioning did not show raises no alarm; for how long it goes on is told, until one is judged."""
    for number in range(NEEDED):
        send(client, headers, number)
    bench.diagnoser.level = evidence.UNSEEN
    told = [send(client, headers, 100 + number)["system"]["alarm"] for number in range(3)]  # type: ignore[index]
    assert told == [CALM | {"unseen": number} for number in (1, 2, 3)]
    bench.diagnoser.level = evidence.NORMAL
    assert send(client, headers, 200)["system"]["alarm"]["unseen"] == 0  # type: ignore[index]


def test_an_alarm_by_a_limit_outlasts_the_commissioning(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A limit holds in every state: the twentieth window, which ends the commissioning, ends no alarm.

    A normal that people teach in place of another one does: what was said against the old one says nothing now.
    """
    begun = datetime.now(UTC) - timedelta(hours=1)
    bench.diagnoser.level = LIMIT
    answers = [send(client, headers, number) for number in range(NEEDED)]
    alarm = answers[-1]["system"]["alarm"]  # type: ignore[index]
    assert alarm["raised"]
    shown = client.get(SYSTEM, headers=headers()).json()
    assert (shown["state"], shown["alarm"]) == ("monitoring", alarm)
    assert send(client, headers, 99)["system"]["alarm"]["since"] == alarm["since"]  # type: ignore[index]
    body = {"from": begun.isoformat(), "to": datetime.now(UTC).isoformat()}
    assert client.post(BASELINE, json=body, headers=headers("admin")).status_code == 200
    assert client.get(SYSTEM, headers=headers()).json()["alarm"] == CALM


def test_a_channel_that_came_later_is_shown_without_a_first_level(
    client: TestClient, headers: LogIn, bench: Bench
) -> None:
    """What commissioning did not show has no level of then: null over REST, and nothing on the command line."""
    for number in range(NEEDED):
        send(client, headers, number)
    [point] = bench.store.normals[1].points
    origin = np.full_like(point.baseline.count, np.nan)
    bench.store.normals[1] = Normal((replace(point, baseline=replace(point.baseline, origin=origin)),))
    shown = client.get(BASELINE, headers=headers()).json()
    assert shown["operating_points"][0]["channels"]["flow"]["learned"] is None
    console = Console(width=200)
    with console.capture() as printed:
        console.print(baseline_table(shown))
    assert "182" in next(line for line in printed.get().splitlines() if "pressure" in line)


def test_a_normal_that_says_nothing_is_none(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """What was learned on other features, and a repair before anything was learned, leave a system unknown.

    The window is judged as while commissioning, and a replay judges it so again.
    """
    admin = headers("admin")
    assert client.patch(SYSTEM, json={"state": "maintenance"}, headers=admin).status_code == 200
    send(client, headers, 1)
    client.patch(SYSTEM, json={"state": "commissioning"}, headers=admin)
    for number in range(NEEDED):
        send(client, headers, number)
    send(client, headers, 100)
    bench.store.normals[1] = Normal.of(Baseline(np.full(2, 20.0), np.ones(2), np.ones(2)))
    answer = send(client, headers, 101)
    assert answer["system"]["state"] == "monitoring"  # type: ignore[index]
    told = [asked.commissioning for asked in bench.diagnoser.asked]
    assert (told[0], told[-2:]) == (True, [False, True])
    assert client.post(f"/api/diagnostics/{answer['trace_id']}/replay/", headers=admin).json()["identical"]
    assert bench.diagnoser.asked[-1].commissioning
    body = {"accept": [answer["trace_id"]]}
    assert assert_problem(client.post(BASELINE, json=body, headers=admin), 422, "invalid-input")["field"] == "accept"


def test_people_state_limits(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """By channel of the family, low below high, where samples can lie; each window is judged by them."""
    admin = headers("admin")
    for wrong, field in (
        ({"torque": {"low": 1.0}}, "limits"),
        ({"pressure": {"low": 9.0, "high": 9.0}}, "limits.pressure.low"),
        ({"pressure": {"low": "x"}}, "limits.pressure.low"),
        ({"pressure": {"high": 1e6}}, "limits.pressure.high"),
        ({"temperature": {"low": 20.0, "high": -300.0}}, "limits.temperature.high"),
        ({"pressure": {"lowest": 1.0}}, "limits.pressure.lowest"),
    ):
        problem = assert_problem(client.patch(SYSTEM, json={"limits": wrong}, headers=admin), 422, "invalid-input")
        assert problem["field"] == field
    changed = client.patch(SYSTEM, json={"limits": {"pressure": {"high": 250.0}, "flow": {}}}, headers=admin).json()
    assert changed["limits"] == {"pressure": {"low": None, "high": 250.0}}
    send(client, headers, 1)
    assert bench.diagnoser.asked[-1].limits == {"pressure": {"high": 250.0}}
    trace_id = send(client, headers, 2)["trace_id"]
    client.patch(SYSTEM, json={"limits": {}}, headers=admin)
    client.post(f"/api/diagnostics/{trace_id}/replay/", headers=admin)
    again = bench.diagnoser.asked[-1]
    assert (again.limits, again.commissioning) == ({"pressure": {"high": 250.0}}, True)
    assert client.get(BASELINE, headers=admin).json()["limits"] == {}


def test_a_commissioning_that_fails_keeps_the_answer(
    client: TestClient, headers: LogIn, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window has its answer whatever becomes of the commissioning, which is tried again after as many more."""

    def broken(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("serve_app.commissioning.commission", broken)
        for number in range(NEEDED + 1):
            send(client, headers, number)
    assert client.get(SYSTEM, headers=headers()).json()["state"] == "commissioning"
    for number in range(NEEDED + 1, 2 * NEEDED):
        send(client, headers, number)
    assert client.get(SYSTEM, headers=headers()).json()["state"] == "monitoring"
    assert len(bench.store.recorded) == 2 * NEEDED


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_foreign_baseline_is_not_found(client: TestClient, headers: LogIn, method: str) -> None:
    """Another tenant's reads as one that does not exist."""
    body: object = {} if method == "POST" else None
    reply = client.request(method, "/api/systems/2/baseline/", json=body, headers=headers("admin"))
    assert_problem(reply, 404, "not-found")
