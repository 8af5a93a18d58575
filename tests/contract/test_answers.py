"""What people say of answers to questions: bound to an answer that their tenant was given, the last word counts."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from pipelines.errors import Unavailable
from serve_app.answer_report import report_of
from serve_app.api.schemas.answers import AnswerFeedbackReply
from serve_app.cli.answers import lines_of
from serve_app.store.records import EPOCH
from serve_app.store.records_answers import AnswerFeedback, Cited, Helpfulness, SpokenOf
from tests.contract.calls import CHAT, STREAM, WINDOW, LogIn, assert_problem
from tests.contract.stand_ins import API_KEY, Bench

QUERY, ASKED = "/api/rag/query/", {"query": "How to fix a pressure drop?"}
PLACE = Cited("d1", "Pressure drop", 1, 10, 33)


def answered(client: TestClient, headers: dict[str, str], path: str = QUERY, body: Any = ASKED) -> str:
    """Ask; return where feedback on the answer goes."""
    reply = client.post(path, json=body, headers=headers)
    assert reply.status_code == 200
    return f"/api/rag/answers/{reply.headers['x-request-id']}/feedback/"


def test_a_verdict_is_kept_with_the_question_and_what_was_cited(
    client: TestClient, headers: LogIn, bench: Bench
) -> None:
    """The id that the answer came with binds the two; the audit has a note."""
    place = answered(client, headers())
    body = {"verdict": "wrong", "comment": "that is the other pump"}
    reply = client.post(place, json=body, headers=headers())
    assert reply.status_code == 200, reply.text
    AnswerFeedbackReply.model_validate(reply.json())
    trace_id = place.split("/")[4]
    assert reply.json() | body | {"trace_id": trace_id, "actor": "operator"} == reply.json()
    assert bench.store.answered == {(1, UUID(trace_id)): (ASKED["query"], [PLACE], False)}
    assert (1, "operator", "answer.feedback", f"answer {trace_id}") in bench.store.audited


@pytest.mark.parametrize(
    ("path", "body", "more"),
    [
        (QUERY, ASKED, STREAM),
        (QUERY, ASKED | {"system_id": 1}, {}),
        (QUERY, {"query": "What changed since yesterday?", "system_id": 1}, {}),
        ("/v1/chat/completions", CHAT, {}),
        ("/v1/chat/completions", CHAT | {"stream": True}, {}),
        ("/api/diagnostics/diagnose/", WINDOW, {}),
    ],
)
def test_every_way_to_ask_can_be_spoken_of(
    client: TestClient, headers: LogIn, bench: Bench, path: str, body: Any, more: dict[str, str]
) -> None:
    """Whole or streamed, from the manuals or the database, by chat or beside a finding."""
    bench.diagnoser.alarm = True
    place = answered(client, headers() | more, path, body)
    assert client.post(place, json={"verdict": "helped"}, headers=headers()).status_code == 200


def test_each_account_has_one_word_and_the_last_one_counts(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A second word of an account stands in place of its first; one of another account, or of a key, beside it."""
    place = answered(client, headers())
    for account, verdict in (("operator", "wrong"), ("operator", "helped"), ("admin", "missing")):
        assert client.post(place, json={"verdict": verdict}, headers=headers(account)).status_code == 200
    assert client.post(place, json={"verdict": "helped"}, headers={"x-api-key": API_KEY}).status_code == 200
    said = {account: kept.verdict for (*_, account), kept in bench.store.rated.items()}
    assert said == {"user 3": "helped", "user 1": "missing", "key line 4": "helped"}


def test_only_of_what_the_own_tenant_was_given(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Another tenant's answer, one that was never given and an id of something else all read as not found."""
    place = answered(client, headers())
    body = {"verdict": "wrong"}
    assert_problem(client.post(place, json=body, headers=headers("stranger")), 404, "not-found")
    absent = f"/api/rag/answers/{uuid4()}/feedback/"
    assert_problem(client.post(absent, json=body, headers=headers()), 404, "not-found")
    other = client.get("/api/systems/", headers=headers()).headers["x-request-id"]
    elsewhere = f"/api/rag/answers/{other}/feedback/"
    assert_problem(client.post(elsewhere, json=body, headers=headers()), 404, "not-found")
    wrong = client.post("/api/rag/answers/x/feedback/", json=body, headers=headers())
    assert assert_problem(wrong, 422, "invalid-input")["field"] == "trace_id"
    assert bench.store.rated == {}


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"verdict": "right"}, "verdict", "helped"),
        ({}, "verdict", "is required"),
        ({"verdict": "wrong", "comment": "x" * 1001}, "comment", "1000"),
        ({"verdict": "wrong", "comment": "a\x00b"}, "comment", "NUL"),
        ({"verdict": "wrong", "account": "user 1"}, "account", "not a known field"),
    ],
)
def test_what_does_not_fit_is_named(
    client: TestClient, headers: LogIn, bench: Bench, body: dict[str, Any], field: str, rule: str
) -> None:
    """Field and rule are named, and nothing is kept."""
    problem = assert_problem(
        client.post(answered(client, headers()), json=body, headers=headers()), 422, "invalid-input"
    )
    assert problem["field"] == field
    assert rule in problem["rule"]
    assert bench.store.rated == {}


def test_no_answer_fails_for_its_row(
    client: TestClient, headers: LogIn, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away questions are answered as before."""

    async def away(*_: object) -> None:
        raise Unavailable("database", "does not answer")

    monkeypatch.setattr(bench.store.answers, "add", away)
    assert client.post(QUERY, json=ASKED, headers=headers()).json()["response"]
    assert "event: done" in client.post(QUERY, json=ASKED, headers=headers() | STREAM).text


def test_nobodys_answer_is_kept(client: TestClient, bench: Bench) -> None:
    """The service-to-service face knows no tenant, and leaves nothing behind."""
    key = {"x-internal-api-key": bench.services.settings.rag_internal_api_key.get_secret_value()}
    assert client.post("/internal/rag/api/v1/query", json=ASKED, headers=key).status_code == 200
    assert bench.store.answered == {}


# --- the report


def spoken(verdict: Helpfulness, question: str, *documents: str) -> SpokenOf:
    """Return an answer out of documents with a word on it."""
    said = AnswerFeedback(UUID(int=1), verdict, "the other\x1b[31m pump", "ann", EPOCH)
    return SpokenOf(question, [Cited(name, name.upper(), 2, 0, 5) for name in documents], not documents, said)


FOUND = [spoken("helped", "a", "x", "x"), spoken("wrong", "b", "x", "y"), spoken("missing", "c"), spoken("helped", "d")]


def test_the_report_counts_by_verdict_and_by_document() -> None:
    """Shares are of the words said; a document counts once an answer, and what cites nothing stands by itself."""
    report = report_of(FOUND)
    counted = {key: report[key] for key in ("helped", "wrong", "missing", "words", "helped_share")}
    assert counted == {"helped": 2, "wrong": 1, "missing": 1, "words": 4, "helped_share": 0.5}
    assert [(row["document_id"], row["words"], row["helped_share"]) for row in report["documents"]] == [
        ("y", 1, 0.0),
        ("", 2, 0.5),
        ("x", 2, 0.5),
    ]
    assert [(row["verdict"], row["question"]) for row in report["questions"]] == [("wrong", "b"), ("missing", "c")]
    assert [place["document_id"] for place in report["questions"][0]["cited"]] == ["x", "y"]


def test_the_report_is_read_by_people() -> None:
    """Each question that did not help stands with what was cited; of no words it says so."""
    lines = lines_of(report_of(FOUND))
    assert lines[0] == "4 words on answers; helped 2, wrong 1, missing 1; 50% helped"
    at = lines.index("  wrong: b")
    assert lines[at + 1 : at + 3] == ["    cited: X, page 2", "    cited: Y, page 2"]
    assert lines[lines.index("  missing: c") + 1] == "    cited: nothing"
    assert lines_of(report_of([])) == ["Nothing was said of any answer."]
