"""Requests under an `Idempotency-Key`: done once, answered alike, and refused where the key stands for another one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from configs.settings import Limits
from pipelines.errors import NoQuorum, NotFound, Unavailable
from serve_app.api import keyed_route
from serve_app.api.app import create_app
from serve_app.api.auth import Editor
from serve_app.api.keyed_route import SecretRoute
from serve_app.api.ports import Ports
from serve_app.store.records_idempotency import KeyScope
from tests.contract.calls import CHAT, DETECT, STREAM, WINDOW, LogIn, Replied, assert_problem
from tests.contract.stand_ins import API_KEY, Bench, make_bench

SYSTEMS, BODY = "/api/systems/", {"name": "Lift", "family": "generic"}
READINGS = "/api/systems/1/readings/"
OWN = "idempotency-replayed", "x-request-id"


def under(key: str, headers: dict[str, str]) -> dict[str, str]:
    """Return headers with a key."""
    return headers | {"idempotency-key": key}


def made(bench: Bench) -> list[str]:
    """Return the names of the systems that were made."""
    return [system.name for number, (_, system) in bench.store.owned.items() if number > 2]


def shown(reply: Replied) -> tuple[int, str, dict[str, str]]:
    """Return what of an answer is the same when it is given again: all but that mark, and what is left."""
    own = OWN[0], "ratelimit"
    return reply.status_code, reply.text, {name: text for name, text in reply.headers.items() if name not in own}


def test_the_first_answer_is_given_again(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """To the byte, with its status, its address and its id; one system is made, and one note of it."""
    admin = under("a", headers("admin"))
    first = client.post(SYSTEMS, json=BODY, headers=admin)
    again = [client.post(SYSTEMS, json=BODY, headers=admin) for _ in range(3)]
    assert first.status_code == 201
    assert OWN[0] not in first.headers
    assert [shown(reply) for reply in again] == [shown(first)] * 3
    assert {reply.headers[OWN[0]] for reply in again} == {"true"}
    assert made(bench) == ["Lift"]
    assert [note[2] for note in bench.store.audited].count("system.added") == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SYSTEMS, {"name": "Lift", "family": "generic", "description": "hall 2"}),
        (SYSTEMS + "?a=1", BODY),
    ],
)
def test_a_key_stands_for_one_request(
    client: TestClient, headers: LogIn, bench: Bench, path: str, body: dict[str, Any]
) -> None:
    """Another body or query under it is refused, and says which request was first; nothing is made."""
    first = client.post(SYSTEMS, json=BODY, headers=under("a", headers("admin")))
    problem = assert_problem(
        client.post(path, json=body, headers=under("a", headers("admin"))), 422, "idempotency-key-reused"
    )
    assert (problem["field"], problem["value"]) == ("idempotency-key", "a")
    assert first.headers["x-request-id"] in problem["rule"]
    assert made(bench) == ["Lift"]


def test_another_machine_under_the_same_key_is_another_request(client: TestClient, headers: LogIn) -> None:
    """The path counts, with the numbers in it."""
    send = {"readings": [{"at": "2026-03-01T00:00:00Z", "pressure": 101.2}]}
    number = client.post(SYSTEMS, json=BODY, headers=headers("admin")).json()["system_id"]
    assert client.post(READINGS, json=send, headers=under("a", headers())).status_code == 200
    other = f"/api/systems/{number}/readings/"
    assert_problem(client.post(other, json=send, headers=under("a", headers())), 422, "idempotency-key-reused")


def test_whose_key_it_is_counts(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """The same key of another tenant, another account or another route is another key."""
    for account in ("admin", "engineer", "stranger"):
        reply = client.post(SYSTEMS, json=BODY, headers=under("a", headers(account)))
        assert (reply.status_code, OWN[0] in reply.headers) == (201, False)
    assert made(bench) == ["Lift"] * 3
    reply = client.post(DETECT, json=WINDOW, headers=under("a", headers("admin")))
    assert (reply.status_code, OWN[0] in reply.headers) == (200, False)


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "ключ".encode(), "a\tb"])
def test_what_is_no_key_is_refused(client: TestClient, headers: LogIn, bench: Bench, key: str | bytes) -> None:
    """A key is 1 to 255 visible characters of ASCII; nothing is made under another one."""
    given: dict[str, str | bytes] = {**headers("admin"), "idempotency-key": key}
    reply = client.post(SYSTEMS, json=BODY, headers=given)  # type: ignore[arg-type]
    assert assert_problem(reply, 422, "invalid-input")["field"] == "idempotency-key"
    assert made(bench) == []


def test_two_keys_are_none(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Nobody guesses which one was meant."""
    given = [*headers("admin").items(), ("idempotency-key", "a"), ("idempotency-key", "b")]
    assert_problem(client.post(SYSTEMS, json=BODY, headers=given), 422, "invalid-input")
    assert made(bench) == []


def test_a_key_in_quotes_is_the_same(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """The draft writes it as a string of structured fields, most clients bare; the longest is one, too."""
    for key in (f'"{"x" * 255}"', "x" * 255):
        client.post(SYSTEMS, json=BODY, headers=under(key, headers("admin")))
    assert made(bench) == ["Lift"]


def test_without_a_key_nothing_is_asked(
    client: TestClient, headers: LogIn, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request without the header costs the store nothing more."""
    for name in ("begin", "keep", "release"):
        monkeypatch.setattr(bench.store.idempotency, name, None)
    assert client.post(SYSTEMS, json=BODY, headers=headers("admin")).status_code == 201
    assert client.post(DETECT, json=WINDOW, headers=headers()).status_code == 200


def test_what_may_be_otherwise_soon_is_not_kept(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A credential that does not hold, a role that does not suffice and a part that is away leave the key free."""
    assert client.post(SYSTEMS, json=BODY, headers=under("a", {"x-api-key": "hdx_nobody"})).status_code == 401
    for _ in range(2):
        assert client.post(SYSTEMS, json=BODY, headers=under("a", headers("viewer"))).status_code == 403
    bench.diagnoser.failure = NoQuorum("ensemble", "1 of 2")
    assert client.post(DETECT, json=WINDOW, headers=under("a", headers())).status_code == 503
    assert bench.store.idempotency.rows == {}
    bench.diagnoser.failure = None
    assert client.post(DETECT, json=WINDOW, headers=under("a", headers())).status_code == 200


def test_what_is_wrong_with_a_request_is_kept(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A refusal is an answer: given again with the id under which it was given first."""
    wrong = {"name": "Lift", "family": "toaster"}
    replies = [client.post(SYSTEMS, json=wrong, headers=under("a", headers("admin"))) for _ in range(2)]
    for reply in replies:
        assert_problem(reply, 422, "invalid-input")
    assert shown(replies[0]) == shown(replies[1])


def test_a_window_counts_once(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Also on the way that knows no keys: a detect that is repeated is judged, stored and counted once."""
    replies = [client.post(DETECT, json=WINDOW, headers=under("a", headers())) for _ in range(3)]
    assert len({reply.content for reply in replies}) == 1
    (kept,) = bench.store.recorded
    assert str(kept[1].trace_id) == replies[2].json()["trace_id"] == replies[2].headers["x-request-id"]


def test_an_answer_given_again_takes_feedback(client: TestClient, headers: LogIn) -> None:
    """It is known by the id of the first one, which the repeat bears, too."""
    replies = [client.post("/api/rag/query/", json={"query": "why"}, headers=under("a", headers())) for _ in range(2)]
    place = f"/api/rag/answers/{replies[1].headers['x-request-id']}/feedback/"
    assert client.post(place, json={"verdict": "helped"}, headers=under("b", headers())).status_code == 200


def test_streams_take_no_key(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """What is written as it goes cannot be given again: it is said before anything is done."""
    asked = under("a", headers() | STREAM)
    for path, body in (("/api/rag/query/", {"query": "why"}), ("/api/diagnostics/diagnose/", WINDOW)):
        assert_problem(client.post(path, json=body, headers=asked), 422, "invalid-input")
    chat = client.post("/v1/chat/completions", json=CHAT | {"stream": True}, headers=under("a", headers()))
    assert "streamed" in assert_problem(chat, 422, "invalid-input")["rule"]
    assert (bench.assistant.asked, bench.store.recorded) == ([], [])


def test_a_form_is_known_by_what_it_holds(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """The boundary is drawn anew for each attempt; another file under the key is refused."""
    engineer = under("a", headers("engineer"))
    path = "/api/rag/documents/"
    replies = [client.post(path, files={"file": ("a.md", b"# Press\n")}, headers=engineer) for _ in range(2)]
    assert len({reply.request.headers["content-type"] for reply in replies}) == 2
    assert shown(replies[0]) == shown(replies[1])
    assert replies[0].status_code == 202
    other = client.post(path, files={"file": ("a.md", b"# Lift\n")}, headers=engineer)
    assert_problem(other, 422, "idempotency-key-reused")
    assert [note[2] for note in bench.store.audited].count("document.added") == 1


@pytest.fixture
def few_bytes(tmp_path: Path) -> Iterator[tuple[TestClient, Bench]]:
    """A client of a service that hands on bodies of more than a thousand bytes as they come."""
    bench = make_bench(tmp_path, limits=Limits(readings_bytes=1_000, job_bytes=100_000))
    with TestClient(create_app(bench.services)) as client:
        yield client, bench


def rows(value: float) -> bytes:
    """Return a file that is longer than one request takes."""
    return b"time,pressure\n" + b"2026-03-01T00:00:00Z,%g\n" % value * 200


FILE = {"x-api-key": API_KEY, "content-type": "text/csv"}


def test_a_file_that_comes_in_pieces_is_one_job(few_bytes: tuple[TestClient, Bench]) -> None:
    """Its digest is taken while it is read: sent again it is the same job, and another file is refused."""
    client, bench = few_bytes
    given = under("a", FILE)
    replies = [client.post(READINGS, content=rows(100), headers=given) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert shown(replies[0]) == shown(replies[1])
    assert len(bench.store.jobs.asked) == 1
    assert_problem(client.post(READINGS, content=rows(101), headers=given), 422, "idempotency-key-reused")
    short = client.post(READINGS, content=b"time,pressure\n", headers=given)
    assert_problem(short, 422, "idempotency-key-reused")


def test_a_file_that_was_not_read_leaves_the_key_free(few_bytes: tuple[TestClient, Bench]) -> None:
    """What is refused on its address alone, nobody knows the digest of."""
    client, bench = few_bytes
    reply = client.post("/api/systems/99/readings/", content=rows(100), headers=under("a", FILE))
    assert_problem(reply, 404, "not-found")
    assert bench.store.idempotency.rows == {}


async def held(bench: Bench, key: str, body: bytes | None = None, changed: bool = False) -> UUID:
    """Let another request hold a key of the administrator; return its id."""
    trace_id = uuid4()
    scope = KeyScope(1, "user 1, admin", SYSTEMS, key)
    assert await bench.store.idempotency.begin(scope, trace_id, body) is None
    bench.store.idempotency.rows[scope].changed = changed
    return trace_id


async def test_while_the_first_runs_others_come_again(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """They are told when, and which request they wait for."""
    first = await held(bench, "a")
    reply = client.post(SYSTEMS, json=BODY, headers=under("a", headers("admin")))
    problem = assert_problem(reply, 409, "idempotency-key-in-use")
    assert reply.headers["retry-after"] == "1"
    assert str(first) in problem["rule"]
    assert made(bench) == []


async def test_one_that_died_before_its_change_leaves_the_key_free(
    client: TestClient, headers: LogIn, bench: Bench
) -> None:
    """Once its lease is over, the request is done as if it came first."""
    await held(bench, "a")
    for row in bench.store.idempotency.rows.values():
        row.lease_until = datetime.now(UTC)
    assert client.post(SYSTEMS, json=BODY, headers=under("a", headers("admin"))).status_code == 201
    assert made(bench) == ["Lift"]


async def test_one_that_died_after_its_change_is_not_done_again(
    client: TestClient, headers: LogIn, bench: Bench
) -> None:
    """The caller is told to look, and by which id."""
    first = await held(bench, "a", changed=True)
    for row in bench.store.idempotency.rows.values():
        row.lease_until = datetime.now(UTC)
    reply = client.post(SYSTEMS, json=BODY, headers=under("a", headers("admin")))
    assert str(first) in assert_problem(reply, 409, "idempotency-answer-lost")["rule"]
    assert made(bench) == []


def test_an_answer_that_is_too_long_is_not_kept(
    client: TestClient, headers: LogIn, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it changed is not done again all the same."""
    monkeypatch.setattr(keyed_route, "ANSWER_BYTES", 10)
    admin = under("a", headers("admin"))
    assert client.post(SYSTEMS, json=BODY, headers=admin).status_code == 201
    assert_problem(client.post(SYSTEMS, json=BODY, headers=admin), 409, "idempotency-answer-lost")
    assert made(bench) == ["Lift"]


def test_a_failure_after_the_change_is_not_done_again(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """The registry was about to be changed: whether it was, nobody can tell, and the caller is told that."""
    admin = under("a", headers("admin"))
    path = "/api/models/hdx-generic-catboost/promote/"
    bench.promotions.failure = Unavailable("promoter", "no reply")
    assert client.post(path, json={"version": "3"}, headers=admin).status_code == 503
    bench.promotions.failure = None
    assert_problem(client.post(path, json={"version": "3"}, headers=admin), 409, "idempotency-answer-lost")
    assert bench.promotions.requests == []
    moves = [note[2] for note in bench.store.audited if note[2].startswith("model.")]
    assert moves == ["model.promote.asked", "model.promote.failed"]


def test_a_refusal_of_the_registry_is_kept(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """It is an answer as any other."""
    bench.promotions.failure = NotFound("model version", "9")
    path = "/api/models/hdx-generic-catboost/promote/"
    for _ in range(2):
        reply = client.post(path, json={"version": "9"}, headers=under("a", headers("admin")))
        assert_problem(reply, 404, "not-found")


def test_a_secret_is_not_kept(bench: Bench, headers: LogIn) -> None:
    """Of a route that shows a secret once, a repeat is told that it was done, and the secret stays nowhere."""
    router = APIRouter(prefix="/api/secrets", route_class=SecretRoute)

    @router.post("/")
    async def make(caller: Editor, services: Ports) -> JSONResponse:
        await services.store.audit.note(caller.tenant_id, caller.name, "secret.added", "secret", "")
        return JSONResponse({"secret": "hunter2"}, 201)

    app = create_app(bench.services)
    app.include_router(router)
    with TestClient(app) as client:
        given = under("a", {"authorization": headers("admin")["authorization"]})
        assert client.post("/api/secrets/", headers=given).json() == {"secret": "hunter2"}
        assert_problem(client.post("/api/secrets/", headers=given), 409, "idempotency-answer-lost")
    assert "hunter2" not in repr(bench.store.idempotency.rows)


def test_a_demoted_caller_sees_no_answer_of_before(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """What an account was answered in another role is not given to it again."""
    engineer = headers("engineer")
    assert client.post(SYSTEMS, json=BODY, headers=under("a", engineer)).status_code == 201
    bench.store.people[2] = replace(bench.store.people[2], role="viewer")
    assert client.post(SYSTEMS, json=BODY, headers=under("a", headers("engineer"))).status_code == 403
