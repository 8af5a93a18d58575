"""Files over HTTP: a kind is proposed from one, a system commissioned from one, and what is wrong with one is named."""

import asyncio
import gzip
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from configs.settings import Limits
from pipelines.errors import InvalidInput, Overloaded
from pipelines.machines.family import family_names
from serve_app.api import files
from serve_app.api.files import FileReader
from serve_app.api.schemas.files import EXAMPLE, ProposalReply, TaughtReply
from serve_app.api.schemas.readings import SentReply
from tests.contract.calls import LogIn, assert_problem
from tests.contract.stand_ins import Bench, settings_for
from tests.unit.workbooks import Cell, rows_xml, workbook

PROPOSAL, FAMILIES = "/api/families/proposal/", "/api/families/"
TAUGHT, READINGS = "/api/systems/1/baseline/file/", "/api/systems/1/readings/"
CSV, ANY = {"content-type": "text/csv"}, {"content-type": "application/octet-stream"}
XLSX = {"content-type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}
PRESS = {"name": "press"}
BEGIN = datetime(2026, 3, 1, 6, tzinfo=UTC)


def frame(rows: int = 900) -> pd.DataFrame:
    """A press that was read once a second, with one tag that nobody knows."""
    random, times = np.random.default_rng(5), pd.date_range(BEGIN, periods=rows, freq="s")
    values = {
        "Pump pressure [psi]": random.normal(2600, 9, rows),
        "Oil temperature [°F]": random.normal(120, 0.3, rows),
    }
    return pd.DataFrame({"time": times, **values, "PX4711": random.normal(5, 0.1, rows)})


def text(rows: int = 900) -> bytes:
    return frame(rows).to_csv(index=False).encode()


def packed(rows: int = 900) -> bytes:
    table = io.BytesIO()
    frame(rows).to_parquet(table, index=False)
    return table.getvalue()


def book(rows: int = 900) -> bytes:
    given = frame(rows)
    cells: list[list[Cell]] = [list(given.columns)]
    cells += [
        [each[0].tz_localize(None).to_pydatetime(), *map(float, each[1:])] for each in given.itertuples(index=False)
    ]
    return workbook({"Data": rows_xml(cells)})


def proposed(
    client: TestClient, headers: LogIn, content: bytes, given: dict[str, str], **params: Any
) -> dict[str, Any]:
    """Return a proposal."""
    reply = client.post(PROPOSAL, params=PRESS | params, content=content, headers=headers("engineer") | given)
    assert reply.status_code == 200, reply.text
    ProposalReply.model_validate(reply.json())
    return dict(reply.json())


# --- a kind is proposed


def test_a_proposal_is_ready_to_be_defined(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """It holds channels with their units, asks for the tag, says how it was read, and keeps nothing."""
    found = proposed(client, headers, text(), CSV, title="Press of hall 2")
    channels = found["definition"]["channels"]
    assert {name: each["unit"] for name, each in channels.items()} == {"pressure": "psi", "temperature": "degF"}
    assert found["definition"]["title"] == "Press of hall 2"
    assert [each for each in found["asked"] if "PX4711" in each] == found["asked"] != []
    assert found["report"]["rows_read"] == 900
    assert any("Pump pressure" in line for line in found["notes"])
    assert [each for each in bench.store.audited if each[2] != "login"] == []
    made = client.post(FAMILIES, json=found["definition"], headers=headers("engineer"))
    assert made.status_code == 201, made.text
    assert made.json()["channels"]["pressure"]["typical"] == channels["pressure"]["typical"]


@pytest.mark.parametrize("step_s", [60, 8 * 3600, 34_500, 12 * 3600, 7 * 86_400])
def test_a_proposal_from_a_slow_log_can_be_defined(client: TestClient, headers: LogIn, step_s: int) -> None:
    """What is proposed is taken as it stands; of rows that come too seldom the file is refused, by their time."""
    times = pd.date_range("2020-01-01", periods=120, freq=pd.Timedelta(seconds=step_s), tz="UTC")
    values = np.random.default_rng(5).normal(180, 2, 120)
    content = pd.DataFrame({"time": times, "pressure [bar]": values}).to_csv(index=False).encode()
    engineer = headers("engineer")
    reply = client.post(PROPOSAL, params=PRESS, content=content, headers=engineer | CSV)
    if step_s > 34_560:
        problem = assert_problem(reply, 422, "invalid-input")
        assert (problem["field"], problem["value"]) == ("time", f"a row every {step_s} s")
        return
    assert reply.status_code == 200, reply.text
    made = client.post(FAMILIES, json=reply.json()["definition"], headers=engineer)
    assert made.status_code == 201, made.text


def test_each_format_shows_the_same_kind(client: TestClient, headers: LogIn) -> None:
    """CSV, Excel and Parquet, by their type, by their content, and packed."""
    expected = proposed(client, headers, text(), CSV)["definition"]
    given = [(book(), XLSX), (packed(), PARQUET), (text(), ANY), (book(), ANY), (gzip.compress(packed()), ANY)]
    given.append((gzip.compress(text()), CSV | {"content-encoding": "gzip"}))
    for content, kind in given:
        found = proposed(client, headers, content, kind)["definition"]
        assert found["channels"].keys() == expected["channels"].keys(), kind
        assert found["window_s"] == expected["window_s"]


def test_what_is_asked_is_answered_beside_the_file(client: TestClient, headers: LogIn) -> None:
    """`?column=` says what a tag is, once or more, and `?zone=` whose clock it was."""
    found = proposed(client, headers, text(), CSV, column=["clamp force=PX4711 [kN]"])
    assert found["definition"]["channels"]["clamp force"]["unit"] == "kN"
    assert found["asked"] == []
    naive = frame().assign(time=lambda each: each["time"].dt.tz_localize(None)).to_csv(index=False).encode()
    assert "2026-03-01T05:00:00Z" in proposed(client, headers, naive, CSV, zone="Europe/Berlin")["report"]["time"]


def test_more_columns_than_a_kind_may_have(client: TestClient, headers: LogIn) -> None:
    """The first 64 are proposed, and the others are told."""
    wide = ",".join(["time", *(f"P{n} [bar]" for n in range(70))])
    rows = [",".join([(BEGIN + timedelta(seconds=n)).isoformat(), *[str(100 + n % 7)] * 70]) for n in range(60)]
    found = proposed(client, headers, "\n".join([wide, *rows]).encode(), CSV)
    assert len(found["definition"]["channels"]) == 64
    assert any(note.startswith("left out: 6 columns beyond 64 channels") for note in found["notes"])
    assert client.post(FAMILIES, json=found["definition"], headers=headers("admin")).status_code == 201


def test_a_name_that_is_taken_or_none(client: TestClient, headers: LogIn) -> None:
    """A shipped one cannot be proposed again, and a name must be one."""
    for name, status, code in (
        (family_names()[0], 409, "conflict"),
        ("Press 4", 422, "invalid-input"),
        ("", 422, "invalid-input"),
    ):
        reply = client.post(PROPOSAL, params={"name": name}, content=text(9), headers=headers("admin") | CSV)
        assert_problem(reply, status, code)


# --- a system is commissioned


def test_a_system_is_commissioned_from_a_file(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """It is told what would be learned, then learned, by whom and from which file stands in the audit."""
    engineer = headers("engineer") | CSV
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(seconds=60)).isoformat()}
    tried = client.post(TAUGHT, params=span | {"dry_run": "true"}, content=text(), headers=engineer)
    assert tried.status_code == 200, tried.text
    TaughtReply.model_validate(tried.json())
    assert (tried.json()["dry_run"], tried.json()["baseline"]["state"]) == (True, "commissioning")
    assert tried.json()["windows_read"] == 28
    assert any(line.strip().startswith("pressure <-") for line in tried.json()["read"])
    taught = client.post(TAUGHT, params=span, content=text(), headers=engineer).json()
    assert (taught["baseline"]["state"], taught["windows_read"]) == ("monitoring", 28)
    level = taught["baseline"]["operating_points"][0]["channels"]["pressure"]
    assert level["unit"] == "bar"
    assert level["level"] == pytest.approx(179.3, abs=1)
    (note,) = [each for each in bench.store.audited if each[2] == "system.commissioned"]
    assert note[1] == "engineer"


def test_a_file_of_several_machines_names_one(client: TestClient, headers: LogIn) -> None:
    """Which one is asked by its name, for commissioning and for readings."""
    two = pd.concat([frame().assign(machine="P1"), frame().assign(machine="P2")])
    two.loc[two["machine"] == "P2", "Pump pressure [psi]"] *= 0.5
    content = two.to_csv(index=False).encode()
    for path, who in ((TAUGHT, "engineer"), (READINGS, "operator")):
        problem = assert_problem(client.post(path, content=content, headers=headers(who) | CSV), 422, "invalid-input")
        assert (problem["field"], "P1, P2" in problem["rule"]) == ("machine", True)
        wrong = client.post(path, params={"machine": "P3"}, content=content, headers=headers(who) | CSV)
        assert assert_problem(wrong, 422, "invalid-input")["value"] == "P3"
    one = {"machine": "P2"}
    taught = client.post(TAUGHT, params=one, content=content, headers=headers("engineer") | CSV).json()
    level = taught["baseline"]["operating_points"][0]["channels"]["pressure"]["level"]
    assert level == pytest.approx(89.6, abs=1)
    sent = client.post(READINGS, params=one, content=content, headers=headers() | CSV)
    assert sent.json()["written"] == 1800
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(hours=1)).isoformat(), "channel": "pressure"}
    (found,) = client.get(READINGS, params=span, headers=headers()).json()["channels"]
    assert max(found["values"]) < 100


def test_cells_of_another_machine_are_not_set_aside(client: TestClient, headers: LogIn) -> None:
    """Of two machines in a file only the words in the cells of the one that is named go to quarantine."""
    given = pd.concat([frame(60).assign(machine="P1"), frame(60).assign(machine="P2")]).astype(object)
    given = given.reset_index(drop=True)
    given.loc[3, "Pump pressure [psi]"], given.loc[63, "Pump pressure [psi]"] = "of P1", "of P2"
    reply = client.post(READINGS, params={"machine": "P2"}, content=given.to_csv(index=False), headers=headers() | CSV)
    assert reply.status_code == 200, reply.text
    aside = client.get(f"{READINGS}quarantine/", headers=headers()).json()["quarantine"]
    assert [each["value"] for each in aside if each["channel"] == "pressure"] == ["of P2"]


def test_workbooks_are_readings(client: TestClient, headers: LogIn) -> None:
    """Excel is taken like CSV and Parquet, and tells the same readings."""
    params = {"zone": "UTC"}
    sent = client.post(READINGS, params=params, content=text(60), headers=headers() | CSV).json()
    SentReply.model_validate(sent)
    assert sent["written"] == 120
    for content, kind in ((book(60), XLSX), (book(60), ANY), (packed(60), ANY)):
        again = client.post(READINGS, params=params, content=content, headers=headers() | kind)
        assert again.status_code == 200, again.text
        assert (again.json()["unchanged"], again.json()["written"]) == (120, 0)


# --- what is refused


WRONG: dict[str, tuple[bytes, dict[str, str], dict[str, Any], int, str | None, str]] = {
    "nothing": (b"", CSV, {}, 422, "file", "must not be empty"),
    "no type": (text(9), {}, {}, 415, "content-type", "text/csv"),
    "JSON": (b"{}", {"content-type": "application/json"}, {}, 415, "content-type", "text/csv"),
    "a form": (b"a=1", {"content-type": "application/x-www-form-urlencoded"}, {}, 415, "content-type", "text/csv"),
    "a workbook as CSV": (book(9), CSV, {}, 400, "body", "must be text/csv, as content-type says"),
    "a text as a workbook": (text(9), XLSX, {}, 400, "body", "as content-type says"),
    "an archive": (b"PK\x03\x04" + b"x" * 100, ANY, {}, 422, "file", "whole workbook"),
    "prose": (b"Dear all,\nplease find attached\n", CSV, {}, 422, "file", "must hold rows of numbers"),
    "no packing": (text(9), CSV | {"content-encoding": "gzip"}, {}, 400, "body", "packed by gzip"),
    "another packing": (text(9), CSV | {"content-encoding": "br"}, {}, 415, "content-encoding", "gzip, identity"),
    "a bomb": (gzip.compress(b"0" * 17_000_000), CSV, {}, 413, "body", "must not exceed 16000000 bytes"),
    "a zone that is none": (
        b"time,P [bar]\n" + b"2026-03-01 06:00:00,100\n" * 9, CSV, {"zone": "Europe"}, 422, "zone", "Europe/Berlin",
    ),
    "a path as zone": (
        b"time,P [bar]\n" + b"2026-03-01 06:00:00,100\n" * 9, CSV, {"zone": "/etc/passwd"}, 422, "zone", "+03:00",
    ),
    "a column that is not there": (text(9), CSV, {"column": "pressure=PT9 [bar]"}, 422, "column", "must be a column"),
    "a column without a name": (text(9), CSV, {"column": "pressure"}, 422, "column", "must be a channel and a column"),
    "a column of any length": (text(9), CSV, {"column": "p=" + "x" * 400}, 422, "column[0]", "at most 300"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("path", [PROPOSAL, TAUGHT])
def test_what_is_wrong_is_named(client: TestClient, headers: LogIn, bench: Bench, path: str, wrong: str) -> None:
    """By field and rule in the words of the API, with nothing of the inside, and nothing is kept."""
    content, given, params, status, field, rule = WRONG[wrong]
    params = params | (PRESS if path == PROPOSAL else {})
    reply = client.post(path, params=params, content=content, headers=headers("engineer") | given)
    codes = {400: "malformed-body", 413: "too-large", 415: "unsupported-content", 422: "invalid-input"}
    problem = assert_problem(reply, status, codes[status])
    assert problem.get("field") == field
    assert rule in problem["rule"]
    assert not any(word in reply.text for word in ("--channel", "/usr", "zoneinfo", "site-packages", "Traceback"))
    assert [each for each in bench.store.audited if each[2] != "login"] == []


def test_a_file_without_a_known_column_is_asked_about(client: TestClient, headers: LogIn) -> None:
    """The refusal says which parameter answers it."""
    tags = frame(60)[["time", "PX4711"]].to_csv(index=False)
    for path, who in ((PROPOSAL, "engineer"), (TAUGHT, "engineer"), (READINGS, "operator")):
        reply = client.post(path, params=PRESS if path == PROPOSAL else {}, content=tags, headers=headers(who) | CSV)
        problem = assert_problem(reply, 422, "invalid-input")
        assert problem["field"] == "channels"
        assert "?column=" in problem["rule"]


def test_too_little_teaches_nothing(client: TestClient, headers: LogIn) -> None:
    """Fewer windows than are needed, and a span that ends before it begins."""
    engineer = headers("engineer") | CSV
    problem = assert_problem(client.post(TAUGHT, content=text(20), headers=engineer), 422, "invalid-input")
    assert (problem["field"], problem["value"]) == ("file", 4)
    assert "at least 6 windows" in problem["rule"]
    assert client.post(TAUGHT, params={"dry_run": "1"}, content=text(20), headers=engineer).json()["windows_read"] == 4
    span = {"from": BEGIN.isoformat(), "to": BEGIN.isoformat()}
    problem = assert_problem(client.post(TAUGHT, params=span, content=text(), headers=engineer), 422, "invalid-input")
    assert problem["field"] == "to"


def test_a_large_file_has_its_own_limit(client: TestClient, headers: LogIn) -> None:
    """A file may be larger than JSON, and no more than the setting says."""
    head, _, rows = text(60).partition(b"\n")
    large = head + b"\n" + rows.replace(b"\n", b" " * 50_000 + b"\n")
    assert proposed(client, headers, large, CSV)["report"]["rows_read"] == 60
    over = client.post(PROPOSAL, params=PRESS, content=large * 6, headers=headers("admin") | CSV)
    assert_problem(over, 413, "too-large")
    plain = client.post("/api/systems/1/baseline/", content=b" " * 3_000_000, headers=headers("admin"))
    assert_problem(plain, 413, "too-large")


def test_another_tenant_has_no_such_system(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A file teaches no foreign system, and what it shows is told to whoever sent it alone."""
    foreign = TAUGHT.replace("/1/", "/2/")
    for params in ({}, {"dry_run": "true"}):
        reply = client.post(foreign, params=params, content=text(), headers=headers("admin") | CSV)
        assert_problem(reply, 404, "not-found")
    assert client.get("/api/systems/2/baseline/", headers=headers("stranger")).json()["state"] == "commissioning"
    proposed(client, headers, text(), CSV)
    assert_problem(client.get("/api/families/press/", headers=headers("admin")), 404, "not-found")
    assert_problem(client.get("/api/families/press/", headers=headers("stranger")), 404, "not-found")


def test_an_operator_sends_readings_alone(client: TestClient, headers: LogIn) -> None:
    """Kinds and what is normal are the engineers' to say."""
    for path in (PROPOSAL, TAUGHT):
        reply = client.post(path, params=PRESS, content=text(60), headers=headers("operator") | CSV)
        assert_problem(reply, 403, "forbidden")


def test_the_example_runs(client: TestClient, headers: LogIn) -> None:
    """What the contract shows as a file is taken."""
    assert len(proposed(client, headers, EXAMPLE.encode(), CSV)["definition"]["channels"]) == 2


# --- a few at a time


def reader() -> FileReader:
    return FileReader(Limits())


async def test_who_waits_too_long_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many files as may be are read, one more is refused after its time, and taken once a turn is free."""
    monkeypatch.setattr(files, "WAIT_S", 0.05)
    running, held = reader(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> str:
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result()
        return "read"

    first = [asyncio.ensure_future(running.run(tenant, work)) for tenant in range(files.AT_ONCE)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await running.run(files.AT_ONCE, work)
    held.set()
    assert await asyncio.gather(*first) == ["read"] * files.AT_ONCE
    assert await running.run(0, work) == "read"


async def test_one_tenant_leaves_a_turn_to_others() -> None:
    """However many files one sends, another's is read beside the first of them; then they follow one another."""
    running, held, first, begun = reader(), asyncio.Event(), asyncio.Event(), list[int]()
    loop = asyncio.get_running_loop()

    def work(number: int) -> None:
        begun.append(number)
        loop.call_soon_threadsafe(first.set)
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result()

    async with asyncio.timeout(20):
        greedy = [asyncio.ensure_future(running.run(1, work, number)) for number in range(4)]
        try:
            await first.wait()
            assert await running.run(2, str) == ""
            assert begun == [0]
        finally:
            held.set()
            await asyncio.gather(*greedy)
    assert begun == [0, 1, 2, 3]


async def test_a_file_that_takes_too_long_holds_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sent it is answered in time; its thread counts until it ends, and what fails in it is told to nobody."""
    monkeypatch.setattr(files, "READ_S", 0.05)
    monkeypatch.setattr(files, "WAIT_S", 0.05)
    monkeypatch.setattr(files, "AT_ONCE", 1)
    running, held = reader(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> str:
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result()
        raise InvalidInput("file", "x", "late")

    with pytest.raises(InvalidInput, match="cut the file into parts"):
        await running.run(1, work)
    with pytest.raises(Overloaded):
        await running.run(2, str)
    held.set()
    await asyncio.sleep(0.1)
    assert await running.run(2, str) == ""


def test_cells_have_a_setting(tmp_path: Any) -> None:
    """What a file may unpack to is the owner's to say."""
    assert settings_for(tmp_path, limits=Limits(file_cells=1000)).limits.file_cells == 1000
