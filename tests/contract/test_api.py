"""Ask, diagnose, documents and systems: what a route answers and what it leaves behind."""

import json
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from pipelines.detectors.members import registry
from pipelines.errors import Unavailable
from serve_app.api.ports import Asked
from serve_app.api.schemas.assistant import DiagnoseReply, QueryReply
from serve_app.api.schemas.documents import DocumentReply
from serve_app.api.schemas.models import ModelsReply
from tests.contract.calls import (
    CHAT,
    DETECT,
    DETECT_KEYS,
    STREAM,
    WINDOW,
    LogIn,
    assert_problem,
    read_events,
)
from tests.contract.stand_ins import API_KEY, TEXT, Bench


class TestSystems:
    """The machines of a tenant."""

    def test_the_life_of_a_system(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Add, read, change, list, delete; each change is audited."""
        token = headers("engineer")
        added = client.post("/api/systems/", json={"name": "Press 2", "family": "generic"}, headers=token)
        assert added.status_code == 201
        path = added.headers["location"]
        assert client.get(path, headers=token).json() == {**added.json(), "watched_until": None}
        changed = client.patch(path, json={"description": "hall 3"}, headers=token).json()
        assert changed == {**added.json(), "description": "hall 3"}
        listed = client.get("/api/systems/", headers=token).json()
        assert [system["name"] for system in listed["systems"]] == ["Press", "Press 2"]
        assert client.delete(path, headers=token).status_code == 204
        assert_problem(client.get(path, headers=token), 404, "not-found")
        actions = [action for _, _, action, _ in bench.store.audited if action.startswith("system")]
        assert actions == ["system.added", "system.changed", "system.deleted"]

    def test_pages_follow_each_other(self, client: TestClient, headers: LogIn) -> None:
        """`next` leads to the following page and is null on the last."""
        token = headers("admin")
        for number in range(3):
            client.post("/api/systems/", json={"name": f"Press {number + 2}", "family": "generic"}, headers=token)
        first = client.get("/api/systems/?limit=2", headers=token).json()
        second = client.get(f"/api/systems/?limit=2&after={first['next']}", headers=token).json()
        names = [system["name"] for page in (first, second) for system in page["systems"]]
        assert names == ["Press", "Press 2", "Press 3", "Press 4"]
        assert second["next"] is None

    @pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
    def test_another_tenants_system_does_not_exist(self, client: TestClient, headers: LogIn, method: str) -> None:
        """404, not 403."""
        send = {"name": "mine"} if method == "PATCH" else None
        assert_problem(client.request(method, "/api/systems/2/", json=send, headers=headers("admin")), 404, "not-found")

    def test_an_unknown_family_is_refused(self, client: TestClient, headers: LogIn) -> None:
        """The problem names the families there are."""
        reply = client.post("/api/systems/", json={"name": "Saw", "family": "saw"}, headers=headers("admin"))
        problem = assert_problem(reply, 422, "invalid-input")
        assert (problem["field"], problem["value"]) == ("family", "saw")
        assert "generic" in str(problem["rule"])


class TestModels:
    """Trained versions."""

    def test_each_version_is_listed_with_its_state(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """A version that has not judged a window is listed as unusable with the reason."""
        lost = bench.diagnoser.statuses[1]._replace(scored_probe=False, reason="artefact is missing")
        bench.diagnoser.statuses[1] = lost
        reply = client.get("/api/models/", headers=headers("viewer"))
        models = ModelsReply.model_validate(reply.json()).models
        assert {model.detector: model.usable for model in models} == {
            name: name != bench.diagnoser.statuses[1].detector for name in registry()
        }
        assert {model.reason for model in models if not model.usable} == {"artefact is missing"}


class TestAssistant:
    """Questions."""

    def test_the_answer_has_the_shape_of_the_contract(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Response, sources that stand in their page, citations and metadata."""
        body = {"query": "How to fix hydraulic pressure drop?", "system_id": 1, "max_results": 3}
        reply = client.post("/api/rag/query/", json=body, headers=headers())
        assert reply.status_code == 200
        answer = reply.json()
        QueryReply.model_validate(answer)
        assert answer["response"] == "Check the suction line [1]."
        assert len(answer["sources"]) == 3
        source = answer["sources"][0]
        assert set(source) == {"document_id", "title", "snippet", "score", "page", "start", "end"}
        assert source["end"] - source["start"] == len(source["snippet"]) == len(TEXT)
        metadata = {"model", "processing_time_ms", "tokens_used", "grounded", "abstained"}
        assert metadata <= set(answer["metadata"])
        assert bench.assistant.asked == [Asked(1, str(body["query"]), 3, "The machine is Press, of family generic.")]
        assert ("asked", "grounded") in bench.metrics.calls

    def test_a_stream_comes_in_order_and_adds_up(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Sources, tokens that make the very answer, its citations, and an end with the figures."""
        whole = client.post("/api/rag/query/", json={"query": "why"}, headers=headers()).json()
        reply = client.post("/api/rag/query/", json={"query": "why"}, headers=headers() | STREAM)
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert 'event: token\ndata: {"text":"Check "}\n\nevent: token\ndata: {"text":"the "}\n\n' in reply.text
        events = read_events(reply.text)
        assert [name for name, _ in events] == ["sources", *["token"] * 5, "citations", "done"]
        assert "".join(data["text"] for name, data in events if name == "token") == whole["response"]
        assert events[0][1] == whole["sources"]
        assert events[-2][1] == whole["citations"]
        assert set(events[-1][1]) >= set(whole["metadata"])
        assert bench.assistant.closed

    def test_a_stream_that_breaks_says_so(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """After the first event an error is an event, and a problem like all others; before it, a plain problem."""
        bench.assistant.broken_off = Unavailable("generator", "no reply")
        reply = client.post("/api/rag/query/", json={"query": "why"}, headers=headers() | STREAM)
        name, problem = read_events(reply.text)[-1]
        assert (name, problem["status"], problem["type"]) == ("error", 503, "urn:hdx:problem:unavailable")
        assert bench.assistant.closed
        bench.assistant.failure = Unavailable("retriever", "no reply")
        assert_problem(
            client.post("/api/rag/query/", json={"query": "why"}, headers=headers() | STREAM), 503, "unavailable"
        )

    def test_a_question_without_a_topic_is_about_the_last_finding(
        self, client: TestClient, headers: LogIn, bench: Bench
    ) -> None:
        """Who asks what to do about a system in alarm need not say what is wrong with it."""
        bench.diagnoser.alarm = True
        client.post(DETECT, json=WINDOW, headers=headers())
        client.post("/api/rag/query/", json={"query": "What should I do?", "system_id": 1}, headers=headers())
        (asked,) = bench.assistant.asked
        assert asked.text.startswith("What should I do? How to fix ")
        assert "Its last finding" in asked.context

    def test_three_results_unless_told(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """`max_results` left out is three."""
        client.post("/api/rag/query/", json={"query": "why"}, headers=headers())
        assert bench.assistant.asked == [Asked(1, "why", 3)]

    def test_a_foreign_system_is_not_found(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """A question about another tenant's system is not asked."""
        reply = client.post("/api/rag/query/", json={"query": "why", "system_id": 2}, headers=headers())
        assert_problem(reply, 404, "not-found")
        assert bench.assistant.asked == []

    def test_an_outage_is_told_and_counted(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """An index that is down is a 503 that names the part."""
        bench.assistant.failure = Unavailable("retriever", "no reply")
        assert_problem(client.post("/api/rag/query/", json={"query": "why"}, headers=headers()), 503, "unavailable")
        assert ("asked", "unavailable") in bench.metrics.calls


class TestChat:
    """The face of OpenAI's chat completions."""

    @pytest.mark.parametrize(
        ("messages", "text"),
        [
            ([{"role": "user", "content": "why"}], "why"),
            ([{"role": "user", "content": "noise"}, {"role": "assistant", "content": "x"}], "noise"),
            (
                [{"role": "user", "content": "noisy pump"}, {"role": "user", "content": "and why?"}],
                "noisy pump and why?",
            ),
            (
                [{"role": "user", "content": "a" * 3000}, {"role": "user", "content": "and why?"}],
                f"{'a' * 1991} and why?",
            ),
            ([{"role": "user", "content": [{"type": "text", "text": "a leak"}, {"type": "image_url"}]}], "a leak"),
        ],
    )
    def test_the_last_message_is_the_question(
        self, client: TestClient, headers: LogIn, bench: Bench, messages: list[object], text: str
    ) -> None:
        """One without a topic goes with the one before it."""
        body = {**CHAT, "messages": messages, "temperature": 0.3}
        assert client.post("/v1/chat/completions", json=body, headers=headers()).status_code == 200
        assert bench.assistant.asked[0].text == text

    @pytest.mark.parametrize(
        ("changes", "status", "code"),
        [
            ({"model": "gpt-9"}, 404, "not-found"),
            ({"messages": []}, 422, "invalid-input"),
            ({"messages": [{"role": "system", "content": "be terse"}]}, 422, "invalid-input"),
            ({"messages": [{"role": "user", "content": " "}]}, 422, "invalid-input"),
            ({"messages": [{"role": "user", "content": "a" * 2001}]}, 422, "invalid-input"),
            ({"messages": [{"role": "king", "content": "why"}]}, 422, "invalid-input"),
            ({"messages": [{"role": "user", "content": "why \ud800 leak"}]}, 422, "invalid-input"),
        ],
    )
    def test_what_cannot_be_answered_is_named(
        self, client: TestClient, headers: LogIn, bench: Bench, changes: dict[str, object], status: int, code: str
    ) -> None:
        """Nothing is asked."""
        content = json.dumps(CHAT | changes).encode()
        typed = headers() | {"content-type": "application/json"}
        assert_problem(client.post("/v1/chat/completions", content=content, headers=typed), status, code)
        assert bench.assistant.asked == []

    def test_a_stream_has_the_bytes_that_clients_read(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Nameless events of JSON, an error among them where it breaks, and `[DONE]` at the end of both."""
        body = CHAT | {"stream": True, "messages": [{"role": "user", "content": "why"}]}
        reply = client.post("/v1/chat/completions", json=body, headers=headers())
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        *chunks, done, rest = reply.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        read = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
        said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in read)
        assert said == "Check the suction line [1]."
        assert read[-1]["choices"][0]["finish_reason"] == "stop"
        bench.assistant.broken_off = Unavailable("generator", "no reply")
        *_, broken, done, _ = client.post("/v1/chat/completions", json=body, headers=headers()).text.split("\n\n")
        assert json.loads(broken.removeprefix("data: "))["error"]["status"] == 503
        assert done == "data: [DONE]"

    def test_an_api_key_may_come_as_a_bearer_token(self, client: TestClient) -> None:
        """As OpenAI's clients send it; an unknown one is refused."""
        assert client.get("/v1/models", headers={"authorization": f"Bearer {API_KEY}"}).status_code == 200
        assert_problem(client.get("/v1/models", headers={"authorization": "Bearer hdx_no"}), 401, "unauthenticated")


DIAGNOSE = "/api/diagnostics/diagnose/"


class TestDiagnose:
    """Detect and ask in one call."""

    def test_an_anomaly_comes_with_its_repair(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """The finding is stored and answered as by detect, and the question for its repair is put by what it names."""
        bench.diagnoser.alarm = True
        reply = client.post(DIAGNOSE, json=WINDOW, headers=headers())
        assert reply.status_code == 200
        answer = reply.json()
        DiagnoseReply.model_validate(answer)
        assert list(answer["finding"]) == DETECT_KEYS
        assert answer["advice"]["response"] == "Check the suction line [1]."
        assert bench.assistant.asked == [Asked(1, answer["query"], 3, answer["query"])]
        assert answer["query"].startswith("How to fix ")
        assert len(bench.store.recorded) == 1

    def test_what_is_normal_needs_no_repair(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Nothing is asked, and the answer says so."""
        answer = client.post(DIAGNOSE, json=WINDOW, headers=headers()).json()
        assert (answer["query"], answer["advice"], answer["reason"]) == ("", None, "")
        assert bench.assistant.asked == []
        events = read_events(client.post(DIAGNOSE, json=WINDOW, headers=headers() | STREAM).text)
        assert [name for name, _ in events] == ["finding", "done"]

    @pytest.mark.parametrize(
        ("body", "accepted", "words"),
        [
            ({}, "", "How to fix"),
            ({}, "ru-RU,ru;q=0.9", "Как устранить"),
            ({"language": "ru"}, "en", "Как устранить"),
            ({"language": "en"}, "ru", "How to fix"),
        ],
    )
    def test_the_repair_is_in_the_users_language(
        self, client: TestClient, headers: LogIn, bench: Bench, body: dict[str, str], accepted: str, words: str
    ) -> None:
        """That of the body, else that of `Accept-Language`, else English."""
        bench.diagnoser.alarm = True
        client.post(DIAGNOSE, json=WINDOW | body, headers=headers() | {"accept-language": accepted})
        assert bench.assistant.asked[0].text.startswith(words)

    def test_the_finding_is_streamed_first(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Whoever watches sees what is wrong before the manuals have been searched."""
        bench.diagnoser.alarm = True
        events = read_events(client.post(DIAGNOSE, json=WINDOW, headers=headers() | STREAM).text)
        assert [name for name, _ in events] == ["finding", "sources", *["token"] * 5, "citations", "done"]
        assert events[0][1]["prediction"]["is_anomaly"]

    @pytest.mark.parametrize("failure", [Unavailable("retriever", "no reply"), LookupError("of a library")])
    def test_nothing_that_befalls_the_assistant_loses_a_finding(
        self, client: TestClient, headers: LogIn, bench: Bench, failure: Exception
    ) -> None:
        """Without advice the answer still has the finding, and the reason."""
        bench.diagnoser.alarm = True
        bench.assistant.failure = failure
        answer = client.post(DIAGNOSE, json=WINDOW, headers=headers()).json()
        DiagnoseReply.model_validate(answer)
        assert answer["finding"]["prediction"]["is_anomaly"]
        assert (answer["advice"], bool(answer["reason"])) == (None, True)
        events = read_events(client.post(DIAGNOSE, json=WINDOW, headers=headers() | STREAM).text)
        assert [name for name, _ in events] == ["finding", "error"]


DOCUMENTS = "/api/rag/documents/"


class TestDocuments:
    """A tenant's own manuals."""

    def test_an_upload_is_accepted_and_announced(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """It answers where to follow it, and the same file again is the same document."""
        replies = [
            client.post(
                DOCUMENTS, files={"file": ("C:\\manuals\\pump.md", b"# Pump\n\nIt turns.")}, headers=headers("engineer")
            )
            for _ in range(2)
        ]
        assert [reply.status_code for reply in replies] == [202, 202]
        document = replies[0].json()
        DocumentReply.model_validate(document)
        assert (document["name"], document["state"], document["bytes"]) == ("pump.md", "queued", 17)
        assert replies[0].headers["location"] == f"{DOCUMENTS}{document['document_id']}/"
        assert replies[1].json() == document
        assert client.get(replies[0].headers["location"], headers=headers("engineer")).json() == document
        assert client.get(DOCUMENTS, headers=headers("engineer")).json() == {"documents": [document], "next": None}
        assert "document.added" in {note[2] for note in bench.store.audited}

    def test_what_is_never_quoted_is_told_with_its_reason(
        self, client: TestClient, headers: LogIn, bench: Bench
    ) -> None:
        """Who uploads sees which passages give orders, and what each attempts; where none does, the list is empty."""
        file = {"file": ("pump.md", b"# Pump")}
        own = client.post(DOCUMENTS, files=file, headers=headers("engineer")).headers["location"]
        assert client.get(f"{own}flagged/", headers=headers("viewer")).json()["flagged"] == []
        ((key, stored),) = bench.store.kept_documents.items()
        bench.store.kept_documents[key] = replace(stored, flagged=1)
        (passage,) = client.get(f"{own}flagged/", headers=headers("viewer")).json()["flagged"]
        assert passage["reason"] == "overrides instructions"
        assert passage["end"] - passage["start"] == len(passage["text"])

    @pytest.mark.parametrize(
        ("name", "content", "field"),
        [
            ("pump.exe", b"text", "document.name"),
            ("pump", b"text", "document.name"),
            ("pump.pdf", b"PK\x03\x04 not a pdf", "document.content"),
            ("pump.docx", b"%PDF-1.7", "document.content"),
            ("pump.txt", b"\x89PNG\r\n", "document.content"),
            ("pump.md", b"", "document.content"),
            ("a" * 300 + ".md", b"text", "file.filename"),
            ("pu\u202emp.md", b"text", "file.filename"),
        ],
    )
    def test_a_file_of_another_kind_is_refused(
        self, client: TestClient, headers: LogIn, name: str, content: bytes, field: str
    ) -> None:
        """At the door, with the rule that it breaks."""
        reply = client.post(DOCUMENTS, files={"file": (name, content)}, headers=headers("engineer"))
        problem = assert_problem(reply, 422, "invalid-input")
        assert problem["field"] == field

    def test_an_upload_is_a_form_of_bounded_size(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """JSON is no upload, no file is no upload, and no other route takes a form."""
        assert_problem(
            client.post(DOCUMENTS, json={"file": "x"}, headers=headers("engineer")), 415, "unsupported-content"
        )
        assert_problem(client.post(DOCUMENTS, files={"other": b"x"}, headers=headers("engineer")), 422, "invalid-input")
        assert_problem(
            client.post(DETECT, files={"file": b"x"}, headers=headers("engineer")), 415, "unsupported-content"
        )
        limit = bench.services.settings.limits.document_bytes
        declared = headers("engineer") | {
            "content-length": str(limit + 1),
            "content-type": "multipart/form-data; boundary=x",
        }
        assert_problem(client.post(DOCUMENTS, content=b"x", headers=declared), 413, "too-large")

    def test_who_may_only_read_adds_nothing(self, client: TestClient, headers: LogIn) -> None:
        """A viewer and an operator read the list, and change nothing."""
        for who in ("viewer", "operator"):
            file = {"file": ("pump.md", b"# Pump")}
            assert_problem(client.post(DOCUMENTS, files=file, headers=headers(who)), 403, "forbidden")
            assert_problem(client.delete(f"{DOCUMENTS}d1/", headers=headers(who)), 403, "forbidden")
            assert client.get(DOCUMENTS, headers=headers(who)).status_code == 200

    def test_another_tenants_document_is_not_found(self, client: TestClient, headers: LogIn) -> None:
        """Neither read, nor its pages, nor removed, nor indexed again."""
        file = {"file": ("pump.md", b"# Pump")}
        own = client.post(DOCUMENTS, files=file, headers=headers("engineer")).headers["location"]
        for method, path in (
            ("GET", ""),
            ("GET", "pages/1/"),
            ("GET", "flagged/"),
            ("DELETE", ""),
            ("POST", "reindex/"),
        ):
            assert_problem(client.request(method, own + path, headers=headers("stranger")), 404, "not-found")
        assert client.get(DOCUMENTS, headers=headers("stranger")).json()["documents"] == []
        assert client.get(own + "pages/1/", headers=headers("engineer")).json()["text"] == "Pages of pump.md."
        assert_problem(client.get(own + "pages/2/", headers=headers("engineer")), 404, "not-found")

    def test_a_removed_document_is_gone(self, client: TestClient, headers: LogIn) -> None:
        """Its address answers nothing any more."""
        file = {"file": ("pump.md", b"# Pump")}
        own = client.post(DOCUMENTS, files=file, headers=headers("engineer")).headers["location"]
        assert client.delete(own, headers=headers("engineer")).status_code == 204
        assert_problem(client.get(own, headers=headers("engineer")), 404, "not-found")
        assert_problem(client.delete(own, headers=headers("engineer")), 404, "not-found")
