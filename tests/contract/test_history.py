"""Rules of questions about a machine that are answered from what is stored of it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import pytest
from fastapi.testclient import TestClient

from pipelines.knowledge.search.text import language_of
from serve_app.api.schemas.assistant import QueryReply
from serve_app.history import matter_of, since_of
from serve_app.store.records import StoredDiagnosis, StoredFeedback
from serve_app.store.records_watching import Happened
from tests.contract.calls import STREAM, LogIn, read_events
from tests.contract.stand_ins import Bench

NOW = datetime.now(UTC)


def found(bench: Bench, hours: float, components: list[str], *, system: int = 1, tenant: int = 1) -> UUID:
    """Store an anomaly of so many hours ago; return its trace id."""
    prediction = {
        "is_anomaly": bool(components),
        "severity": "critical",
        "anomaly_type": "leakage",
        "affected_components": components,
        "components": [],
    }
    answer = orjson.dumps({"prediction": prediction, "attribution": []})
    stored = StoredDiagnosis(uuid4(), system, "generic", NOW - timedelta(hours=hours), {}, answer)
    bench.store.recorded.append((tenant, stored, None))
    return stored.trace_id


def ask(client: TestClient, headers: LogIn, text: str, system: int = 1) -> dict[str, object]:
    reply = client.post("/api/rag/query/", json={"query": text, "system_id": system}, headers=headers())
    assert reply.status_code == 200, reply.text
    QueryReply.model_validate(reply.json())
    answer: dict[str, object] = reply.json()
    return answer


@pytest.mark.parametrize("text", ["What changed since yesterday?", "Что изменилось со вчерашнего дня?"])
def test_what_changed_is_told_from_the_database(client: TestClient, headers: LogIn, bench: Bench, text: str) -> None:
    """Findings and events since then, the newest first, each cited by its trace id; the manuals are not asked."""
    old, new = found(bench, 72, ["pump"]), found(bench, 2, ["pump"])
    bench.store.tell(1, [Happened(1, NOW - timedelta(hours=1), "alarm.raised", "evidence 9 of 5", new)])
    answer = ask(client, headers, text)
    cited = [citation["document_id"] for citation in answer["citations"]]  # type: ignore[attr-defined]
    assert cited == [str(new), str(new)]
    assert str(old) not in cited
    assert str(answer["response"]).count("[") == 2
    assert answer["metadata"]["model"] == "database"  # type: ignore[index]
    assert bench.assistant.asked == []


@pytest.mark.parametrize("text", ["Has this happened before?", "Случалось ли такое раньше?"])
def test_what_happened_before_is_told_with_what_people_said(
    client: TestClient, headers: LogIn, bench: Bench, text: str
) -> None:
    """The same part earlier counts, another part does not, and the note of who repaired it stands beside."""
    before, _, last = found(bench, 300, ["pump"]), found(bench, 200, ["cooler"]), found(bench, 1, ["pump"])
    bench.store.said[1, before] = StoredFeedback(before, "confirmed", "pump", "shaft seal replaced", "ann", NOW)
    answer = ask(client, headers, text)
    cited = [citation["document_id"] for citation in answer["citations"]]  # type: ignore[attr-defined]
    assert cited == [str(last), str(before), str(before)]
    assert "shaft seal replaced" in str(answer["response"])


def test_nothing_is_an_answer_too(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Where nothing changed the answer says since when, and cites the last diagnosis."""
    quiet = found(bench, 3, [])
    answer = ask(client, headers, "What changed since yesterday?")
    assert "Nothing has changed on Press" in str(answer["response"])
    assert [each["document_id"] for each in answer["citations"]] == [str(quiet)]  # type: ignore[attr-defined]


def test_a_machine_knows_what_it_is_and_how_it_is(client: TestClient, headers: LogIn) -> None:
    """Family, channels with units, state and alarm."""
    assert "bar" in str(ask(client, headers, "Which channels does this machine have?")["response"])
    assert "no alarm is open" in str(ask(client, headers, "Which alarms are open?")["response"])


def test_no_other_tenants_machine_is_told_of(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Neither by its number, nor by a finding of a system that has the same one."""
    found(bench, 2, ["pump"], system=2, tenant=2)
    reply = client.post(
        "/api/rag/query/", json={"query": "What changed since yesterday?", "system_id": 2}, headers=headers()
    )
    assert reply.status_code == 404
    found(bench, 2, ["pump"], tenant=2)
    assert "Nothing has changed" in str(ask(client, headers, "What changed since yesterday?")["response"])


def test_it_is_streamed_like_any_answer(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Tokens add up to the response, and the citations follow."""
    found(bench, 2, ["pump"])
    body = {"query": "What changed since yesterday?", "system_id": 1}
    whole = client.post("/api/rag/query/", json=body, headers=headers()).json()
    events = read_events(client.post("/api/rag/query/", json=body, headers=headers() | STREAM).text)
    assert "".join(data["text"] for name, data in events if name == "token") == whole["response"]
    assert events[-2][1] == whole["citations"]


def chat(client: TestClient, headers: LogIn, *said: str, system: int = 1) -> dict[str, object]:
    messages = [{"role": "user", "content": text} for text in said]
    body = {"model": "hdx-assistant", "messages": messages, "system_id": system}
    answer: dict[str, object] = client.post("/v1/chat/completions", json=body, headers=headers()).json()
    return answer


def test_the_chat_knows_the_machine(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """With `system_id` it answers from the database as the query does; nobody else's machine is told of."""
    trace_id, text = found(bench, 2, ["pump"]), "What changed since yesterday?"
    answer = chat(client, headers, text)
    assert answer["choices"][0]["message"]["content"] == ask(client, headers, text)["response"]  # type: ignore[index]
    assert [each["document_id"] for each in answer["citations"]] == [str(trace_id)]  # type: ignore[attr-defined]
    body = {"model": "hdx-assistant", "messages": [{"role": "user", "content": text}], "system_id": 1, "stream": True}
    assert str(trace_id) in client.post("/v1/chat/completions", json=body, headers=headers()).text
    assert chat(client, headers, text, system=2)["status"] == 404
    assert bench.assistant.asked == []


def test_the_last_message_says_what_a_chat_is_about(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """A question about the machine after one for the manuals is about the machine, and one for the manuals after it."""
    found(bench, 2, ["pump"])
    assert "leak" in str(chat(client, headers, "How to fill the pump?", "Has this happened before?")["choices"]).lower()
    assert bench.assistant.asked == []
    chat(client, headers, "What changed since yesterday?", "How to bleed the cylinder?")
    chat(client, headers, "What changed since yesterday?", "And what should I do?")
    bleed, then = bench.assistant.asked
    assert bleed.text == "How to bleed the cylinder?"
    assert then.text.startswith("And what should I do? How to fix ")
    assert all("Its last finding" in each.context for each in (bleed, then))


@pytest.mark.parametrize(
    "text",
    [
        "How to fix hydraulic pressure drop?",
        "What happens when the filter is clogged?",
        "Has the pump to be filled before the start?",
        "What should I do?",
        "What is different between HLP and HVLP?",
        "Как устранить утечку?",
        "Что делать при падении давления?",
        "Надо ли залить насос до пуска?",
    ],
)
def test_what_the_manuals_are_for_goes_to_them(text: str) -> None:
    """A question of how things are done is none of what was stored."""
    assert matter_of(text, language_of(text)) is None


def test_since_when_is_read_from_the_question() -> None:
    """Yesterday unless told; hours, days, weeks and months in both languages."""
    now = datetime(2026, 11, 30, 10, tzinfo=UTC)
    days = {
        "What changed since yesterday?": datetime(2026, 11, 29, tzinfo=UTC),
        "What happened today?": datetime(2026, 11, 30, tzinfo=UTC),
        "What happened in the last 3 days?": datetime(2026, 11, 27, 10, tzinfo=UTC),
        "Что произошло за последние 2 недели?": datetime(2026, 11, 16, 10, tzinfo=UTC),
        "Что случилось за последний час?": datetime(2026, 11, 30, 9, tzinfo=UTC),
    }
    assert {text: since_of(text, now) for text in days} == days
