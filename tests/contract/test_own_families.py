"""Rules of machine kinds over HTTP: a tenant defines its own, systems are of them, and nobody else sees them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipelines.machines.family import family_names
from serve_app.api.schemas.families import EXAMPLE, FamiliesReply, FamilyReply
from tests.contract.calls import DETECT, LogIn, assert_problem
from tests.contract.stand_ins import Bench

FAMILIES, PRESS = "/api/families/", "/api/families/press/"
NEW: dict[str, Any] = {"name": "press", **EXAMPLE}
SAMPLES = {"pressure": [180.0, 181.0, 179.5], "motor current": [41.0, 41.5, 40.8]}


@pytest.fixture
def press(client: TestClient, headers: LogIn) -> int:
    """A system of a family that the tenant has defined."""
    assert client.post(FAMILIES, json=NEW, headers=headers("engineer")).status_code == 201
    made = client.post("/api/systems/", json={"name": "Press", "family": "press"}, headers=headers("engineer"))
    assert made.status_code == 201, made.text
    return int(made.json()["system_id"])


def test_a_family_is_defined_read_and_changed(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Each change is a version that stays readable, the same again is none, and each is in the audit."""
    engineer = headers("engineer")
    made = client.post(FAMILIES, json=NEW, headers=engineer)
    FamilyReply.model_validate(made.json())
    assert (made.headers["location"], made.json()["version"], made.json()["built_in"]) == (PRESS, 1, False)
    assert made.json()["channels"]["oil temperature"]["high"] == 120
    assert_problem(client.post(FAMILIES, json=NEW, headers=engineer), 409, "conflict")
    changed = client.put(PRESS, json=EXAMPLE | {"window_s": 30}, headers=engineer).json()
    assert (changed["version"], changed["window_s"], changed["actor"]) == (2, 30, "engineer")
    assert client.put(PRESS, json=EXAMPLE | {"window_s": 30}, headers=engineer).json()["version"] == 2
    assert client.get(PRESS, params={"version": 1}, headers=engineer).json()["window_s"] == 60
    assert_problem(client.get(PRESS, params={"version": 3}, headers=engineer), 404, "not-found")
    listed = client.get(FAMILIES, headers=headers("viewer")).json()
    FamiliesReply.model_validate(listed)
    assert [each["name"] for each in listed["families"]] == [*family_names(), "press"]
    assert [action for _, _, action, _ in bench.store.audited if action.startswith("family.")] == [
        "family.added",
        "family.changed",
    ]


def test_a_name_that_stands_twice_is_refused(client: TestClient, headers: LogIn) -> None:
    """A channel that is defined twice, as in YAML: nobody could tell which definition counts."""
    one, other = '"p": {"unit": "bar"}', '"p": {"unit": "degC"}'
    content = f'{{"name": "press", "title": "Press", "channels": {{{one}, {other}}}}}'
    reply = client.post(FAMILIES, content=content, headers=headers("admin") | {"content-type": "application/json"})
    problem = assert_problem(reply, 422, "invalid-input")
    assert (problem["value"], problem["rule"]) == ("p", "must name each member of an object once")
    assert_problem(client.get(PRESS, headers=headers("viewer")), 404, "not-found")


def test_the_shipped_ones_are_read_only(client: TestClient, headers: LogIn) -> None:
    """They can be read and copied, not changed, removed or defined anew."""
    admin = headers("admin")
    shown = client.get("/api/families/generic/", headers=admin).json()
    assert (shown["built_in"], shown["version"], "pump" in shown["components"]) == (True, None, True)
    assert_problem(client.put("/api/families/generic/", json=EXAMPLE, headers=admin), 403, "forbidden")
    assert_problem(client.delete("/api/families/generic/", headers=admin), 403, "forbidden")
    assert_problem(client.post(FAMILIES, json=NEW | {"name": "generic"}, headers=admin), 409, "conflict")
    copied = {name: {key: each[key] for key in ("unit", "low", "high")} for name, each in shown["channels"].items()}
    body = {"name": "my-unit", "title": "Copy", "channels": copied}
    assert client.post(FAMILIES, json=body, headers=admin).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Press 4"}, "name"),
        ({"channels": {}}, "channels"),
        ({"channels": {"speed": {"unit": "rpm"}}}, "channels.speed"),
        ({"window_s": 0}, "window_s"),
        ({"window_s": 1e-9}, "window_s"),
        ({"window_s": 2}, "window_s"),  # of one sample a second, less than detect takes
        ({"window_s": 10_001}, "window_s"),
        ({"window_s": "60"}, "window_s"),
        ({"title": " "}, "title"),
        ({"title": "Press\x004"}, "title"),
        ({"channels": {"speed": {"unit": "rpm", "low": True, "high": 9}}}, "channels.speed.low"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_named(client: TestClient, headers: LogIn, change: dict[str, Any], field: str) -> None:
    """By its field."""
    problem = assert_problem(client.post(FAMILIES, json=NEW | change, headers=headers("admin")), 422, "invalid-input")
    assert problem["field"] == field


def test_another_tenant_sees_none_of_it(client: TestClient, headers: LogIn, press: int) -> None:
    """Not its name, not by a system, and the same name means its own."""
    stranger = headers("stranger")
    for call in (client.get, client.delete):
        assert_problem(call(PRESS, headers=stranger), 404, "not-found")
    assert_problem(client.put(PRESS, json=EXAMPLE, headers=stranger), 404, "not-found")
    refused = client.post("/api/systems/", json={"name": "x", "family": "press"}, headers=stranger)
    assert assert_problem(refused, 422, "invalid-input")["field"] == "family"
    assert [each["name"] for each in client.get(FAMILIES, headers=stranger).json()["families"]] == [*family_names()]
    assert client.post(FAMILIES, json=NEW | {"title": "Other"}, headers=stranger).json()["title"] == "Other"
    assert client.get(PRESS, headers=headers()).json()["title"] == EXAMPLE["title"]


def test_a_window_of_it_is_judged_by_its_definition(
    client: TestClient, headers: LogIn, bench: Bench, press: int
) -> None:
    """The window is checked by it, the ensemble gets it, and the answer keeps the version that it was given by."""
    body = {"system_id": press, "sensor_data": SAMPLES}
    reply = client.post(DETECT, json=body, headers=headers())
    assert reply.status_code == 200, reply.text
    asked = bench.diagnoser.asked[-1]
    assert (asked.family.startswith("press@"), "Deep-drawing" in asked.definition) == (True, True)
    hot = {"system_id": press, "sensor_data": {"motor current": [201.0] * 3}}
    problem = assert_problem(client.post(DETECT, json=hot, headers=headers()), 422, "invalid-input")
    assert problem["rule"] == "must be between 0 and 200 A"
    shown = client.get(f"/api/diagnostics/{reply.json()['trace_id']}/", headers=headers()).json()
    assert shown["family"] == "press"
    assert ("answered", "own") in [call[:2] for call in bench.metrics.calls]


def test_an_old_answer_is_given_again_by_its_version(
    client: TestClient, headers: LogIn, bench: Bench, press: int
) -> None:
    """Whatever has become of the family: changed, or removed with its systems."""
    body = {"system_id": press, "sensor_data": SAMPLES}
    trace_id = client.post(DETECT, json=body, headers=headers()).json()["trace_id"]
    first = bench.diagnoser.asked[-1]
    wider = EXAMPLE["channels"] | {"speed": {"unit": "rpm", "low": 0, "high": 3000}}
    assert client.put(PRESS, json=EXAMPLE | {"channels": wider}, headers=headers("admin")).status_code == 200
    kept = assert_problem(client.delete(PRESS, headers=headers("admin")), 409, "conflict")
    assert (kept["value"], kept["rule"]) == ("press", f"must be of no system; system {press} is of it")
    assert client.post(f"/api/diagnostics/{trace_id}/replay/", headers=headers()).json()["identical"]
    again = bench.diagnoser.asked[-1]
    assert (again.family, again.definition) == (first.family, first.definition)


def test_a_viewer_defines_nothing(client: TestClient, headers: LogIn) -> None:
    """Machine kinds are the engineers' and the administrators' to say."""
    for who in ("viewer", "operator"):
        assert_problem(client.post(FAMILIES, json=NEW, headers=headers(who)), 403, "forbidden")


def test_a_system_speaks_its_own_units(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Its windows are checked, judged and answered in psi and Fahrenheit; its family keeps its name."""
    units = {"pressure": "PSI", "temperature": "°F", "flow": "l/min"}
    new = {"name": "US", "family": "generic", "units": units}
    made = client.post("/api/systems/", json=new, headers=headers("admin"))
    assert made.status_code == 201, made.text
    assert (made.json()["family"], made.json()["units"]) == ("generic", {"pressure": "psi", "temperature": "degF"})
    body = {"system_id": made.json()["system_id"], "sensor_data": {"pressure": [2610.0, 2600.5, 2605.0]}}
    answer = client.post(DETECT, json=body, headers=headers())
    assert answer.status_code == 200, answer.text
    assert bench.diagnoser.asked[-1].family == "generic@pressure=psi;temperature=degF"
    body["sensor_data"] = {"pressure": [11000.0] * 3}
    problem = assert_problem(client.post(DETECT, json=body, headers=headers()), 422, "invalid-input")
    assert problem["rule"].startswith("must be between 0 and 10152.6 psi")
    shown = client.get(f"/api/diagnostics/{answer.json()['trace_id']}/", headers=headers()).json()
    assert (shown["family"], shown["units"]["pressure"]) == ("generic", "psi")
    assert client.post(f"/api/diagnostics/{answer.json()['trace_id']}/replay/", headers=headers()).json()["identical"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"units": {"speed": "rpm"}}, "units.speed"),
        ({"units": {"pressure": "degF"}}, "units.pressure"),
        ({"units": {"pressure": "furlong"}}, "units.pressure"),
        ({"family": "rig", "units": {"pressure": "psi"}}, "units"),
        ({"family": "generic@pressure=psi"}, "family"),
    ],
)
def test_units_that_cannot_be_are_named(client: TestClient, headers: LogIn, change: dict[str, Any], field: str) -> None:
    """A channel that is none, another quantity, a word that is no unit, and a family that is read in its own."""
    body = {"name": "x", "family": "generic"} | change
    problem = assert_problem(client.post("/api/systems/", json=body, headers=headers("admin")), 422, "invalid-input")
    assert problem["field"] == field
