"""Readings over HTTP: what is taken in, what is set aside, what is refused by name, and how it is read back."""

import gzip
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from pipelines.machines.definition import Definition
from serve_app.api.schemas.detection import DetectReply
from serve_app.api.schemas.readings import BODY, QuarantineReply, ReadingsReply, SentReply, SettledReply
from tests.contract.calls import DETECT, WINDOW, LogIn, assert_problem
from tests.contract.stand_ins import Bench

PATH = "/api/systems/1/readings/"
ASIDE = PATH + "quarantine/"
AT = "2026-03-01T06:00:00Z"
SPAN = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
CSV = {"content-type": "text/csv"}
XLSX = {"content-type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}


def send(client: TestClient, headers: LogIn, *rows: dict[str, Any]) -> dict[str, Any]:
    """Send rows that are taken, and return the counts."""
    return taken(client.post(PATH, json={"readings": list(rows)}, headers=headers()))


def taken(reply: Any) -> dict[str, Any]:
    """Return the counts of an answer."""
    assert reply.status_code == 200, reply.text
    SentReply.model_validate(reply.json())
    return {name: count for name, count in reply.json().items() if name not in ("system_id", "notes")}


def counts(**given: int) -> dict[str, int]:
    """Return all counts, those that are not given zero."""
    return dict.fromkeys(("written", "unchanged", "corrected", "quarantined", "empty"), 0) | given


def read(client: TestClient, headers: LogIn, **params: Any) -> dict[str, Any]:
    """Read the span back, by channel."""
    reply = client.get(PATH, params=SPAN | params, headers=headers("viewer"))
    assert reply.status_code == 200, reply.text
    ReadingsReply.model_validate(reply.json())
    return {each["channel"]: each for each in reply.json()["channels"]}


def aside(client: TestClient, headers: LogIn) -> list[tuple[str, str, str]]:
    """Return channel, value and reason of all that was set aside."""
    reply = client.get(ASIDE, headers=headers("viewer"))
    QuarantineReply.model_validate(reply.json())
    return [(each["channel"], each["value"], each["reason"]) for each in reply.json()["quarantine"]]


def frame(rows: int = 5) -> pd.DataFrame:
    """A file of a logger with a clock of UTC, in units that are not the family's."""
    times = pd.date_range("2026-03-01T06:00:00Z", periods=rows, freq="s")
    return pd.DataFrame({"time": times, "pressure [psi]": np.full(rows, 1450.0), "temperature [degC]": 45.0})


# --- what is taken


def test_rows_are_kept_once(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Rows are written, sent again unchanged, with another value corrected, and an empty channel is counted."""
    rows = {"at": AT, "pressure": 101.2, "flow": 25}, {"at": "2026-03-01T08:00:01+02:00", "pressure": 99, "flow": None}
    assert send(client, headers, *rows) == counts(written=3, empty=1)
    assert send(client, headers, *rows) == counts(unchanged=3, empty=1)
    assert send(client, headers, {"at": AT.lower(), "pressure": 101.5}) == counts(corrected=1)
    found = read(client, headers)
    assert found["pressure"]["at"] == [AT, "2026-03-01T06:00:01Z"]
    assert (found["pressure"]["values"], found["pressure"]["unit"]) == ([101.5, 99.0], "bar")
    assert (1, "operator", "readings.corrected", "system 1") in bench.store.audited


@pytest.mark.parametrize(
    ("row", "channel", "value", "reason"),
    [
        ({"pressure": 9999}, "pressure", "9999", "between 0 and 700 bar"),
        ({"pressure": -1.5}, "pressure", "-1.5", "between 0 and 700 bar"),
        ({"pressure": "n/a"}, "pressure", "n/a", "must be a number"),
        ({"pressure": True}, "pressure", "true", "must be a number"),
        ({"pressure": [1, 2]}, "pressure", "[1, 2]", "must be a number"),
        ({"pressure": 10**400}, "pressure", "an integer of more than 200 digits", "between 0 and 700 bar"),
        ({"humidity": 40}, "humidity", "40", "of a channel of the family generic"),
        ({"pressure": 100, "quality": "bad"}, "pressure", "100", "quality 'bad'"),
        ({"pressure": 100, "quality": False}, "pressure", "100", "quality 'false'"),
        ({"pressure": 100, "quality": 24}, "pressure", "100", "quality '24'"),
    ],
)
def test_what_is_no_reading_is_set_aside(
    client: TestClient, headers: LogIn, row: dict[str, Any], channel: str, value: str, reason: str
) -> None:
    """The value stands in quarantine with a reason that says what would be right; its neighbours are kept."""
    good = {"at": "2026-03-01T06:00:01Z", "pressure": 100, "quality": "good"}
    assert send(client, headers, {"at": AT, **row}, good) == counts(written=1, quarantined=1)
    ((found, shown, why),) = aside(client, headers)
    assert (found, shown) == (channel, value)
    assert reason in why


def test_no_number_is_lost(client: TestClient, headers: LogIn) -> None:
    """NaN and infinity, which many clients send, are set aside, not refused."""
    body = f'{{"readings": [{{"at": "{AT}", "pressure": NaN, "flow": Infinity, "vibration": 0.5}}]}}'
    reply = client.post(PATH, content=body, headers=headers() | {"content-type": "application/json"})
    assert taken(reply) == counts(written=1, quarantined=2)
    assert aside(client, headers) == [("pressure", "NaN", "must be finite"), ("flow", "Infinity", "must be finite")]


def test_files_are_read_as_people_have_them(client: TestClient, headers: LogIn) -> None:
    """CSV, Parquet and gzip of either tell the same readings, in the family's units, and how they were read."""
    text = frame().to_csv(index=False).encode()
    reply = client.post(PATH, content=text, headers=headers() | CSV)
    assert taken(reply) == counts(written=10)
    assert any("psi to bar" in line for line in reply.json()["notes"])
    table = io.BytesIO()
    frame().to_parquet(table, index=False)
    packed = headers() | CSV | {"content-encoding": "gzip"}
    assert taken(client.post(PATH, content=table.getvalue(), headers=headers() | PARQUET)) == counts(unchanged=10)
    assert taken(client.post(PATH, content=gzip.compress(text), headers=packed)) == counts(unchanged=10)
    parts = gzip.compress(text[:100]) + gzip.compress(text[100:])  # as files that are joined
    assert taken(client.post(PATH, content=parts, headers=packed)) == counts(unchanged=10)
    assert read(client, headers)["pressure"]["values"] == [pytest.approx(99.974, abs=1e-3)] * 5


def test_nothing_of_a_file_is_lost(client: TestClient, headers: LogIn) -> None:
    """Out of range, marked bad, no number or of an unknown column: each is set aside, the rest is kept."""
    given = frame(60).astype(object)
    given.loc[3, "pressure [psi]"] = 99_999.0
    given.loc[4, "pressure [psi]"] = "ERR"
    given["quality"] = "good"
    given.loc[5, "quality"] = "bad"
    given["cycle count"] = np.arange(60) * 7 % 5 + 0.5
    reply = client.post(PATH, content=given.to_csv(index=False), headers=headers() | CSV)
    told = taken(reply)
    assert sum(told.values()) == 180
    found = aside(client, headers)
    assert told["quarantined"] == len(found)
    reasons = {(name, why) for name, _, why in found}
    assert {name for name, _ in reasons} == {"pressure", "temperature", "cycle count"}
    assert any("between 0 and 700 bar" in why for name, why in reasons if name == "pressure")
    assert ("temperature", "quality 'bad'") in reasons
    assert told["written"] == read(client, headers)["pressure"]["count"] + 59


def test_a_file_needs_its_zone(client: TestClient, headers: LogIn) -> None:
    """Moments that name no zone are refused until it is said, and are then those of that zone."""
    given = frame().assign(time=lambda each: each["time"].dt.tz_localize(None)).to_csv(index=False)
    problem = assert_problem(client.post(PATH, content=given, headers=headers() | CSV), 422, "invalid-input")
    assert problem["field"] == "zone"
    for zone, hour in (("Europe/Berlin", "05"), ("UTC", "06")):
        reply = client.post(PATH, params={"zone": zone}, content=given, headers=headers() | CSV)
        assert taken(reply) == counts(written=10)
        assert f"2026-03-01T{hour}:00:00Z" in read(client, headers)["pressure"]["at"]
    reply = client.post(f"{PATH}?zone=+01:00", content=given, headers=headers() | CSV)  # that a browser would escape
    assert taken(reply)["unchanged"] > 0
    reply = client.post(PATH, params={"zone": "Mars"}, content=given, headers=headers() | CSV)
    assert_problem(reply, 422, "invalid-input")


def test_a_column_is_said(client: TestClient, headers: LogIn) -> None:
    """What a tag measures is said beside the file."""
    given = frame()[["time", "pressure [psi]"]].rename(columns={"pressure [psi]": "PX4711"}).to_csv(index=False)
    reply = client.post(PATH, content=given, headers=headers() | CSV)
    problem = assert_problem(reply, 422, "invalid-input")
    assert "?column=" in problem["rule"]
    assert "--channel" not in problem["rule"]
    reply = client.post(PATH, params={"column": "pressure=PX4711 [psi]"}, content=given, headers=headers() | CSV)
    assert taken(reply) == counts(written=5)


# --- what is refused


def soon() -> str:
    return (datetime.now(UTC) + timedelta(days=3)).isoformat()


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({}, "readings", "array of 1 to 10000"),
        ([], "readings", "array of 1 to 10000"),
        ({"readings": []}, "readings", "array of 1 to 10000"),
        ({"readings": [{"at": AT}], "system": 1}, "system", "not a known field"),
        ({"readings": [{"at": AT}, 7]}, "readings[1]", "object"),
        ({"readings": [{"pressure": 1}]}, "readings[0].at", "names its zone"),
        ({"readings": [{"at": AT}, {"at": "2026-03-01T06:00:00"}]}, "readings[1].at", "names its zone"),
        ({"readings": [{"at": 1772344800}]}, "readings[0].at", "names its zone"),
        ({"readings": [{"at": "yesterday"}]}, "readings[0].at", "names its zone"),
        ({"readings": [{"at": soon()}]}, "readings[0].at", "more than a day ahead"),
        ({"readings": [{"at": "1999-12-31T23:59:59Z"}]}, "readings[0].at", "2000 or later"),
        ({"readings": [{"at": "0001-01-01T00:00:00+14:00"}]}, "readings[0].at", "2000 or later"),
        ({"readings": [{"at": AT, "quality": [1]}]}, "readings[0].quality", "word"),
        ({"readings": [{"at": AT, "a\u0000b": 1}]}, "readings[0]", "printable"),
        ({"readings": [{"at": AT, "a" * 101: 1}]}, "readings[0]", "printable"),
    ],
)
def test_a_bad_body_names_field_and_rule(
    client: TestClient, headers: LogIn, bench: Bench, body: object, field: str, rule: str
) -> None:
    """The problem points at the row, and nothing of the body is kept."""
    problem = assert_problem(client.post(PATH, json=body, headers=headers()), 422, "invalid-input")
    assert problem["field"] == field
    assert rule in problem["rule"]
    assert (bench.store.values, bench.store.suspects) == ({}, {})


@pytest.mark.parametrize(
    ("content", "given", "status", "code"),
    [
        (b"{", {"content-type": "application/json"}, 400, "malformed-body"),
        (b"{}", {"content-type": "application/json", "content-encoding": "gzip"}, 400, "malformed-body"),
        (
            gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0),
            {"content-type": "application/json"},
            400,
            "malformed-body",
        ),
        (gzip.compress(b"{}", mtime=0)[:-4], {"content-type": "application/json"}, 400, "malformed-body"),
        (b"{}", {"content-type": "application/json", "content-encoding": "br"}, 415, "unsupported-content"),
        (b"PK\x03\x04", CSV, 400, "malformed-body"),
        (b"PK\x03\x04", XLSX, 422, "invalid-input"),
        (b"time,pressure", XLSX, 400, "malformed-body"),
        (b"time,pressure", PARQUET, 400, "malformed-body"),
        (b"PAR1", PARQUET, 422, "invalid-input"),
        (b"", CSV, 422, "invalid-input"),
        (b"<a/>", {"content-type": "application/xml"}, 415, "unsupported-content"),
        (b"pressure\n1\n2\n3\n", CSV, 422, "invalid-input"),
        (frame().assign(machine=list("aabbb")).to_csv(index=False).encode(), CSV, 422, "invalid-input"),
    ],
)
def test_a_body_is_what_its_headers_say(
    client: TestClient, headers: LogIn, content: bytes, given: dict[str, str], status: int, code: str
) -> None:
    """Another type, a broken or a doubled packing, and more than a request may hold are refused."""
    problem = assert_problem(client.post(PATH, content=content, headers=headers() | given), status, code)
    assert problem["field"]


def test_another_tenant_has_no_such_system(client: TestClient, headers: LogIn) -> None:
    """Sending to it, reading from it and reviewing it read as absent."""
    path = "/api/systems/2/readings/"
    body = {"readings": [{"at": AT, "pressure": 1}]}
    assert_problem(client.post(path, json=body, headers=headers()), 404, "not-found")
    for each in (path, path + "quarantine/"):
        assert_problem(client.get(each, headers=headers()), 404, "not-found")


# --- what is read back


def test_no_peak_is_lost_on_the_way(client: TestClient, headers: LogIn) -> None:
    """Of many readings few points come, the peak among them, in each format."""
    start = datetime(2026, 3, 1, 6, tzinfo=UTC)
    moments = [(start + timedelta(seconds=n)).isoformat() for n in range(2000)]
    rows = [{"at": at, "pressure": 650 if n == 777 else 100 + n % 7} for n, at in enumerate(moments)]
    send(client, headers, *rows)
    found = read(client, headers, points=40)["pressure"]
    assert (found["count"], found["downsampled"]) == (2000, True)
    assert len(found["values"]) <= 40
    assert max(found["values"]) == 650
    accept = headers("viewer") | {"accept": "text/csv"}
    text = client.get(PATH, params=SPAN | {"points": 40}, headers=accept)
    assert text.headers["content-type"].startswith("text/csv")
    assert f"{moments[777][:19]}Z,pressure,650.0\n" in text.text
    accept["accept"] = "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(client.get(PATH, params=SPAN | {"points": 40}, headers=accept).content).read_all()
    assert table.column("value").to_pylist() == found["values"]
    assert read(client, headers, channel="flow") == {}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": AT, "to": AT}, "from"),
        ({"from": "2026-03-01T00:00:00"}, "from"),
        ({"to": "noon"}, "to"),
        ({"points": 3}, "points"),
        ({"points": 5001}, "points"),
        ({"channel": ["x"] * 65}, "channel"),
    ],
)
def test_a_bad_span_is_refused(client: TestClient, headers: LogIn, params: dict[str, Any], field: str) -> None:
    """A span that ends before it begins, a moment without a zone and too many points are named."""
    problem = assert_problem(client.get(PATH, params=params, headers=headers()), 422, "invalid-input")
    assert problem["field"] == field


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-03-01T00:00:00-12:00"])
def test_any_moment_may_end_a_span(client: TestClient, headers: LogIn, moment: str) -> None:
    """A span far outside of all that is kept holds nothing, and is no error."""
    assert client.get(PATH, params={"to": moment}, headers=headers()).json()["channels"] == []
    assert client.get(PATH, params={"from": "0001-01-01T00:00:00Z", "to": moment}, headers=headers()).status_code in {
        200,
        422,
    }


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"readings": [{"at": "AT", "pressure": 1, "flow": 2, "pressure": 2}]}', "pressure"),
        ('{"readings": [{"at": "AT", "pressure": 1, "at": "AT"}]}', "at"),
        ('{"readings": [{"at": "AT", "pressure": 1}], "readings": [{"at": "AT", "pressure": 2}]}', "readings"),
    ],
)
def test_a_name_that_stands_twice_is_refused(client: TestClient, headers: LogIn, body: str, name: str) -> None:
    """Which of two values counts nobody could tell; nothing is kept."""
    content = body.replace("AT", AT)
    reply = client.post(PATH, content=content, headers=headers() | {"content-type": "application/json"})
    problem = assert_problem(reply, 422, "invalid-input")
    assert (problem["value"], problem["rule"]) == (name, "must name each member of an object once")
    assert read(client, headers) == {}


@pytest.mark.parametrize("value", [1e101, -1e308, 10**150])
def test_what_cannot_be_summed_up_is_not_accepted(client: TestClient, headers: LogIn, value: float) -> None:
    """Two values near the end of a double's range have no sum, which no summary could hold from then on."""
    send(client, headers, {"at": AT, "pressure": value})
    (aside,) = client.get(ASIDE, headers=headers("viewer")).json()["quarantine"]
    reply = client.post(ASIDE, json={"accept": [aside["quarantine_id"]]}, headers=headers())
    assert "must be a number within 1e+100" in assert_problem(reply, 422, "invalid-input")["rule"]


def test_what_was_set_aside_is_accepted_or_dismissed(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Accepted it is read back, and missing in a window where none may hold it; what is no number is refused."""
    rows = [{"at": f"2026-03-01T06:00:{second:02}Z", "flow": 25.0} for second in range(10)]
    rows[8] = {"at": rows[8]["at"], "flow": 1234}
    send(client, headers, *rows, {"at": AT, "pressure": "high", "speed": 7}, {"at": AT, "flow": -3})
    numbers = {
        each["value"]: each["quarantine_id"]
        for each in client.get(ASIDE, headers=headers("viewer")).json()["quarantine"]
    }
    bodies: list[tuple[Any, str]] = [
        ({"accept": [numbers["high"]]}, "accept"),
        ({"accept": [numbers["7"]]}, "accept"),
        ({}, ""),
        ({"accept": [numbers["1234"]], "dismiss": [numbers["1234"]]}, ""),
        ({"dismiss": ["1"]}, "dismiss[0]"),
        ({"dismiss": list(range(1, 1002))}, "dismiss"),
    ]
    for body, field in bodies:
        problem = assert_problem(client.post(ASIDE, json=body, headers=headers()), 422, "invalid-input")
        assert problem.get("field", "") in (field, "body"), problem
    assert_problem(client.post(ASIDE, json={"dismiss": [10**9]}, headers=headers()), 404, "not-found")
    assert len(aside(client, headers)) == 4
    body = {"accept": [numbers["1234"]], "dismiss": [numbers["high"], numbers["7"]]}
    reply = client.post(ASIDE, json=body, headers=headers())
    SettledReply.model_validate(reply.json())
    assert reply.json() == {"system_id": 1, "accepted": 1, "dismissed": 2}
    assert [value for _, value, _ in aside(client, headers)] == ["-3"]
    assert max(read(client, headers)["flow"]["values"]) == 1234
    assert client.post(DETECT, json={"system_id": 1}, headers=headers()).status_code == 200
    assert bench.diagnoser.asked[-1].window.values["flow"].tolist() == [25.0] * 5
    assert (1, "operator", "readings.dismissed", "system 1") in bench.store.audited


def test_quarantine_is_paged(client: TestClient, headers: LogIn) -> None:
    """Each page names the next one until there is none."""
    send(client, headers, *({"at": AT, "pressure": 1000 + n} for n in range(5)))
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = client.get(ASIDE, params={"after": after, "limit": 2}, headers=headers()).json()
        seen += [each["value"] for each in page["quarantine"]]
        after = page["next"]
    assert seen == ["1000", "1001", "1002", "1003", "1004"]


def test_the_examples_run(client: TestClient, headers: LogIn) -> None:
    """What the contract shows as a body is taken."""
    content = BODY["content"]
    assert taken(client.post(PATH, json=content["application/json"]["example"], headers=headers()))["written"] == 4
    reply = client.post(PATH, content=content["text/csv"]["example"], headers=headers() | CSV)
    assert taken(reply)["quarantined"] == 0


def test_a_system_is_sent_its_own_units(client: TestClient, headers: LogIn) -> None:
    """A system that speaks psi is sent psi by row, has psi converted from a file's bar, and is read back in psi."""
    body = {"name": "Press 9", "family": "generic", "units": {"pressure": "psi"}}
    path = client.post("/api/systems/", json=body, headers=headers("admin")).headers["location"] + "readings/"
    row = {"at": AT, "pressure": 1450, "flow": 25}
    assert taken(client.post(path, json={"readings": [row]}, headers=headers())) == counts(written=2)
    text = "time,pressure [bar]\n2026-03-01T06:00:01Z,100\n2026-03-01T06:00:02Z,100\n"
    assert taken(client.post(path, content=text, headers=headers() | CSV)) == counts(written=2)
    found = client.get(path, params=SPAN | {"channel": "pressure"}, headers=headers()).json()["channels"][0]
    assert (found["unit"], found["values"]) == ("psi", [1450.0] + [pytest.approx(1450.4, abs=0.1)] * 2)


def test_the_newest_window_is_judged_by_the_number_alone(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Of the family's length, each channel at each step; a slower one holds its value, what is missing is told."""
    refused = client.post(DETECT, json={"system_id": 1}, headers=headers())
    problem = assert_problem(refused, 422, "invalid-input")
    assert (problem["field"], "no readings of this system" in problem["rule"]) == ("sensor_data", True)
    begin = datetime(2026, 3, 1, 6, tzinfo=UTC)
    rows: list[dict[str, Any]] = []
    for second in range(40):
        row = {"at": (begin + timedelta(seconds=second)).isoformat(), "pressure": 100.0 + second}
        row |= {"temperature": 45.0 + second} if second % 3 == 0 else {}
        rows.append(row | ({} if second == 38 else {"flow": 25.0}))
    send(client, headers, *rows)
    answer = client.post(DETECT, json={"system_id": 1}, headers=headers())
    assert answer.status_code == 200, answer.text
    window = bench.diagnoser.asked[-1].window
    assert window.values["pressure"].tolist() == [135.0, 136.0, 137.0, 138.0, 139.0]
    assert window.values["temperature"].tolist() == [78.0, 81.0, 81.0, 81.0, 84.0]
    assert window.values["flow"].tolist() == [25.0] * 5
    assert (window.rate_hz, "vibration" in window.values) == (1.0, False)


def test_slower_readings_make_a_window_of_as_many_samples(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """One a quarter of a minute are five samples of a minute and a quarter."""
    begin = datetime(2026, 3, 1, 6, tzinfo=UTC)
    send(
        client, headers, *({"at": (begin + timedelta(seconds=15 * n)).isoformat(), "flow": 20.0 + n} for n in range(6))
    )
    assert client.post(DETECT, json={"system_id": 1}, headers=headers()).status_code == 200
    window = bench.diagnoser.asked[-1].window
    assert window.values["flow"].tolist() == [21.0, 22.0, 23.0, 24.0, 25.0]
    assert window.rate_hz == pytest.approx(1 / 15)


@pytest.mark.parametrize("every_s", [60, 600, 86_400])
def test_readings_of_any_pace_make_a_window(client: TestClient, headers: LogIn, bench: Bench, every_s: int) -> None:
    """One a minute, an hour or a day: as far back as they lie apart."""
    begin = datetime(2026, 3, 1, 6, tzinfo=UTC)
    rows = [{"at": (begin + timedelta(seconds=every_s * n)).isoformat(), "flow": 20.0 + n} for n in range(9)]
    send(client, headers, *rows)
    answer = client.post(DETECT, json={"system_id": 1}, headers=headers())
    assert answer.status_code == 200, answer.text
    window = bench.diagnoser.asked[-1].window
    assert window.values["flow"].tolist() == [24.0, 25.0, 26.0, 27.0, 28.0]
    assert window.rate_hz == pytest.approx(1 / every_s)


def test_the_newest_window_is_answered_as_often_as_asked(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """The answer says when the window ended, and none of them counts: watching counts the same readings once."""
    send(client, headers, *({"at": f"2026-03-01T06:00:0{second}Z", "flow": 25.0} for second in range(5)))
    learned = client.get("/api/systems/1/", headers=headers()).json()["windows"]
    first = client.post(DETECT, json={"system_id": 1}, headers=headers()).json()
    assert first["window_end"] == "2026-03-01T06:00:04Z"
    DetectReply.model_validate(first)
    again = client.post("/api/diagnostics/diagnose/", json={"system_id": 1}, headers=headers()).json()
    assert first["window_end"] in str(again)
    assert client.get("/api/systems/1/", headers=headers()).json()["windows"] == learned
    assert client.post(DETECT, json=WINDOW, headers=headers()).json().get("window_end") is None
    batch = {"items": [{"system_id": 1}, {"system_id": 1}]}
    results = client.post(DETECT + "batch/", json=batch, headers=headers()).json()["results"]
    assert [each["window_end"] for each in results] == [first["window_end"]] * 2
    replayed = client.post(f"/api/diagnostics/{first['trace_id']}/replay/", headers=headers()).json()
    assert replayed["identical"], replayed


def test_a_clock_ahead_hides_no_readings(client: TestClient, headers: LogIn) -> None:
    """One reading of an hour ahead neither is the newest window, nor keeps those of now from being judged."""
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    ahead = {"at": (now + timedelta(hours=1)).isoformat(), "flow": 25.0}
    send(client, headers, ahead, *({"at": (now + timedelta(seconds=n)).isoformat(), "flow": 25.0} for n in range(5)))
    end = client.post(DETECT, json={"system_id": 1}, headers=headers()).json()["window_end"]
    assert datetime.fromisoformat(end) == now + timedelta(seconds=4)


async def test_a_window_of_too_many_samples_is_refused_at_once(
    client: TestClient, headers: LogIn, bench: Bench
) -> None:
    """A day at 100 kHz is never laid out, whatever a family says that was defined when more were taken."""
    family = {"title": "x", "window_s": 86_400, "channels": {"p": {"unit": "bar", "rate_hz": 1e5}}}
    await bench.store.families.add(1, "fast", Definition.model_validate(family).to_json(), "engineer")
    made = client.post("/api/systems/", json={"name": "x", "family": "fast"}, headers=headers("engineer"))
    row = {"at": AT, "p": 100.0}
    assert client.post(made.headers["location"] + "readings/", json={"readings": [row]}, headers=headers()).is_success
    refused = client.post(DETECT, json={"system_id": made.json()["system_id"]}, headers=headers())
    problem = assert_problem(refused, 422, "invalid-input")
    assert "8640000000" in str(problem["value"])
