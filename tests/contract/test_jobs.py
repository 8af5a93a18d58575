"""Jobs over HTTP: what becomes one, how it is followed and cancelled, and what is refused."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from fastapi.testclient import TestClient

from configs.settings import Limits
from serve_app.acquisition import ROWS_MAX
from serve_app.api.app import create_app
from serve_app.api.schemas.jobs import JobReply, JobsReply
from tests.contract.calls import LogIn, assert_problem
from tests.contract.stand_ins import Bench, make_bench
from tests.contract.test_readings import AT, CSV, PARQUET, PATH, frame

JOBS = "/api/jobs/"
JSON = {"content-type": "application/json"}
SMALL = Limits(readings_bytes=10_000, job_bytes=100_000, jobs=3, jobs_bytes=150_000)
ROW = b"2026-03-01T06:00:00Z,100\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Services with small limits, so that bodies beyond them are small."""
    return make_bench(tmp_path, limits=SMALL)


@pytest.fixture
def client(bench: Bench) -> Iterator[TestClient]:
    with TestClient(create_app(bench.services), follow_redirects=False) as client:
        yield client


def of_size(size: int) -> bytes:
    """A file of so many bytes."""
    return (b"time,pressure [bar]\n" + ROW * (size // len(ROW) + 1))[:size]


def begun(reply: Any) -> dict[str, Any]:
    """Return the job that an answer names."""
    assert reply.status_code == 202, reply.text
    JobReply.model_validate(reply.json())
    job: dict[str, Any] = reply.json()
    assert reply.headers["location"] == f"{JOBS}{job['job_id']}/"
    assert (job["state"], job["progress"], job["report"]) == ("queued", {"done": 0, "total": None}, None)
    return job


def kept(bench: Bench, job: dict[str, Any]) -> bytes:
    """The file of a job, as the store has it."""
    parts = bench.store.jobs.parts
    return b"".join(parts[key] for key in sorted(parts) if key[1] == UUID(job["job_id"]))


MORE: dict[str, tuple[bytes, dict[str, str]]] = {
    "a long body": (of_size(90_000), CSV),
    "a body that unpacks to more": (gzip.compress(of_size(90_000)), CSV | {"content-encoding": "gzip"}),
    "a file that unpacks to more": (gzip.compress(of_size(90_000)), CSV),
    "JSON": (orjson.dumps({"readings": [{"at": AT, "pressure": 1}] * 2_000}), JSON),
}


@pytest.mark.parametrize("kind", MORE)
def test_more_than_one_request_takes_becomes_a_job(client: TestClient, headers: LogIn, bench: Bench, kind: str) -> None:
    """202 names its address; the file is kept as it came, and nothing of it is kept as readings yet."""
    content, given = MORE[kind]
    params = {"zone": "Europe/Berlin", "column": "pressure=PT101 [bar]", "machine": "HPU2"}
    job = begun(client.post(PATH, content=content, params=params, headers=headers() | given))
    assert kept(bench, job) == content
    assert (job["bytes"], job["system_id"], job["created_by"]) == (len(content), 1, "operator")
    _, found = bench.store.jobs.asked[UUID(job["job_id"])]
    told = {"columns": {"pressure": "PT101 [bar]"}, "zone": "Europe/Berlin", "machine": "HPU2"}
    assert found.given == {"json": given is JSON, **told}
    assert bench.store.values == {}
    assert (1, "operator", "job.added", f"job {job['job_id']}") in bench.store.audited
    assert client.get(f"{JOBS}{job['job_id']}/", headers=headers("viewer")).json() == job


@pytest.mark.parametrize(
    ("content", "given"),
    [
        (orjson.dumps({"readings": [{"at": AT}] * (ROWS_MAX + 1)}), JSON),
        (frame(ROWS_MAX + 1).to_csv(index=False).encode(), CSV),
    ],
    ids=["JSON", "CSV"],
)
def test_more_rows_become_a_job(tmp_path: Path, content: bytes, given: dict[str, str]) -> None:
    """Though the body is one that a request may have."""
    bench = make_bench(tmp_path)
    with TestClient(create_app(bench.services)) as client:
        begun(client.post(PATH, content=content, headers={"x-api-key": "hdx_test_key_of_tenant_one"} | given))


def test_a_body_comes_in_pieces(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Without its length, and in pieces that meet no border of parts; it ends where it is too long."""
    content = of_size(95_000)
    pieces = (content[n : n + 1_777] for n in range(0, len(content), 1_777))
    assert kept(bench, begun(client.post(PATH, content=pieces, headers=headers() | CSV))) == content
    many = (ROW for _ in range(100_000))
    problem = assert_problem(client.post(PATH, content=many, headers=headers() | CSV), 413, "too-large")
    assert "100000 bytes" in problem["detail"]
    assert len({key[1] for key in bench.store.jobs.parts}) == 1


def test_who_may_not_send_is_refused(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """By right, by system, by type and by what the body begins with, before anything of it is kept."""
    content = of_size(90_000)
    for given, path, status, code in (
        (CSV, PATH, 401, "unauthenticated"),
        (headers("viewer") | CSV, PATH, 403, "forbidden"),
        (headers() | CSV, "/api/systems/2/readings/", 404, "not-found"),
        (headers() | {"content-type": "application/xml"}, PATH, 413, "too-large"),
        (headers() | PARQUET, PATH, 400, "malformed-body"),
        (headers() | CSV | {"content-encoding": "br"}, PATH, 415, "unsupported-content"),
        (headers() | CSV | {"content-length": "100001"}, PATH, 413, "too-large"),
    ):
        assert_problem(client.post(path, content=content, headers=given), status, code)
    assert (bench.store.jobs.asked, bench.store.jobs.parts) == ({}, {})


def test_a_tenant_has_room_for_so_many(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """More bytes, or more jobs, than may wait are told when to come again, and leave nothing behind."""
    first = begun(client.post(PATH, content=of_size(90_000), headers=headers() | CSV))
    full = client.post(PATH, content=of_size(90_000), headers=headers() | CSV)
    assert_problem(full, 429, "overloaded")
    assert full.headers["retry-after"] == "30"
    assert {key[1] for key in bench.store.jobs.parts} == {UUID(first["job_id"])}
    for _ in range(2):
        begun(client.post(PATH, content=of_size(11_000), headers=headers() | CSV))
    assert_problem(client.post(PATH, content=of_size(11_000), headers=headers() | CSV), 429, "overloaded")
    client.post(f"{JOBS}{first['job_id']}/cancel/", headers=headers())
    begun(client.post(PATH, content=of_size(11_000), headers=headers() | CSV))


def test_jobs_are_listed(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """The newest first, in pages; another tenant has none of them."""
    jobs = [begun(client.post(PATH, content=of_size(11_000), headers=headers() | CSV)) for _ in range(3)]
    page = client.get(JOBS, params={"limit": 2}, headers=headers("viewer")).json()
    JobsReply.model_validate(page)
    assert page["jobs"] == jobs[:0:-1]
    rest = client.get(JOBS, params={"before": page["next"]}, headers=headers("viewer")).json()
    assert rest == {"jobs": [jobs[0]], "next": None}
    assert client.get(JOBS, headers=headers("stranger")).json() == {"jobs": [], "next": None}
    for method, path in (("GET", ""), ("POST", "cancel/")):
        reply = client.request(method, f"{JOBS}{jobs[0]['job_id']}/{path}", headers=headers("stranger"))
        assert_problem(reply, 404, "not-found")
    assert_problem(client.get(f"{JOBS}7/", headers=headers()), 422, "invalid-input")


def test_a_job_is_cancelled_once(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Its file is gone; asked again, and where it has ended otherwise, the answer says how it ended."""
    job = begun(client.post(PATH, content=of_size(11_000), headers=headers() | CSV))
    path = f"{JOBS}{job['job_id']}/cancel/"
    for _ in range(2):
        assert client.post(path, headers=headers()).json() == {**job, "state": "cancelled"}
    assert bench.store.jobs.parts == {}
    assert [deed for _, _, deed, _ in bench.store.audited].count("job.cancelled") == 1
    owner, ended = bench.store.jobs.asked[UUID(job["job_id"])]
    reason = "channels: must hold a channel; say --channel pressure='PT101 [bar]'"
    bench.store.jobs.asked[UUID(job["job_id"])] = owner, replace(ended, state="failed", reason=reason)
    reply = client.post(path, headers=headers()).json()
    assert (reply["state"], reply["reason"]) == (
        "failed",
        "channels: must hold a channel; say ?column=pressure=PT101 [bar]",
    )
