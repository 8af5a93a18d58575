"""Rules of the assistant on the whole graph: documents come in and go, and every tenant asks its own."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import psutil
import pytest

from pipelines.datasets.simulator import simulate
from tests.contract.calls import STREAM, read_events
from tests.serve.service import Service, commissioned
from tests.service.hostile_documents import HOSTILE

DOCUMENTS, QUERY = "/api/rag/documents/", "/api/rag/query/"
WAIT_S = 120
FILLER = "The coupling of the pump is aligned within the tolerance that its maker gives. " * 40


def upload(client: httpx.Client, name: str, text: str) -> str:
    """Upload a text; return the address of the document."""
    reply = client.post(DOCUMENTS, files={"file": (name, text.encode())})
    assert reply.status_code == 202, reply.text
    return str(reply.headers["location"])


def wait_for(what: Callable[[], bool], seconds: float = WAIT_S) -> float:
    """Wait until something holds; return how long that took."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, "it does not come to hold"
        time.sleep(0.2)
    return time.monotonic() - begun


def state_of(client: httpx.Client, address: str) -> str:
    return str(client.get(address).raise_for_status().json()["state"])


def asked(client: httpx.Client, text: str, **more: object) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(QUERY, json={"query": text, **more}).raise_for_status().json()
    return answer


def quotes(answer: dict[str, Any]) -> str:
    return " ".join(citation["quote"] for citation in answer["citations"])


def test_uploads_outlive_the_death_of_their_writer(service: Service) -> None:
    """Killed in the middle of its work, the indexer comes back and finishes all of it; every document answers once."""
    with service.client() as client:
        addresses = [
            upload(client, f"line-{number}.txt", f"Line {number} has the torque code QX{number}Z.\n\n{FILLER}")
            for number in range(8)
        ]
        wait_for(lambda: state_of(client, addresses[0]) in ("indexing", "ready"))
        replica_of(service, "Indexer").kill()
        wait_for(lambda: all(state_of(client, address) == "ready" for address in addresses))
        time.sleep(2)
        for number, address in enumerate(addresses):
            answer = asked(client, f"What is the torque code of line {number}?")
            assert f"QX{number}Z" in quotes(answer), answer["metadata"]
            assert sum(f"QX{number}Z" in source["snippet"] for source in answer["sources"]) == 1
            assert client.delete(address).status_code == 204


def replica_of(service: Service, name: str) -> psutil.Process:
    """Return the process of a deployment that has one replica."""
    (found,) = [p for p in psutil.process_iter(["cmdline"]) if is_ours(p, service, f"ServeReplica:hdx:{name}")]
    return found


def is_ours(process: psutil.Process, service: Service, name: str) -> bool:
    """Tell whether a process is a replica of this service: several may run beside each other."""
    try:
        parents = {parent.pid for parent in process.parents()}
        return (
            name in " ".join(process.info["cmdline"] or ())
            and service.process is not None
            and service.process.pid in parents
        )
    except psutil.NoSuchProcess:
        return False


def test_questions_are_answered_while_the_encoder_hangs(service: Service) -> None:
    """By words alone, marked, in both languages; a document waits and is indexed when the encoder is back."""
    russian = "Как устранить падение давления в гидросистеме?"
    with service.client() as client:
        assert not asked(client, russian)["metadata"]["degraded"]
        embedder = replica_of(service, "Embedder")
        embedder.suspend()
        try:
            address = upload(client, "waits.md", "# Waiting\n\nThe code of the waiting press is WT77.")
            for text in ("How to fix hydraulic pressure drop?", russian):
                answer = asked(client, text)
                assert answer["citations"]
                assert (answer["metadata"]["degraded"], "embedder" in answer["metadata"]["reason"]) == (True, True)
            checks = client.get("/health/").json()["checks"]
            assert checks["rag_service"] == "degraded"
        finally:
            embedder.resume()
        wait_for(lambda: state_of(client, address) == "ready")
        wait_for(lambda: client.get("/health/").json()["checks"]["rag_service"] == "ok")
        wait_for(lambda: "WT77" in quotes(asked(client, "What is the code of the waiting press?")), 10)
        assert client.delete(address).status_code == 204


def test_questions_are_answered_while_the_generator_hangs(service: Service) -> None:
    """Whole, streamed, by chat and in a diagnosis: the gateway quotes the same, marked, and health says so."""
    body = {"query": "How to fix hydraulic pressure drop?"}
    faulty = {name: samples.tolist() for name, samples in simulate("cavitation", 1.0, 60, 3).values.items()}
    with service.client() as client:
        system = commissioned(client, "stopped")
        whole, generator = asked(client, body["query"]), replica_of(service, "Generator")
        generator.suspend()
        try:
            answer = asked(client, body["query"])
            assert {name: answer[name] for name in ("response", "citations", "steps")} == {
                name: whole[name] for name in ("response", "citations", "steps")
            }
            assert (answer["metadata"]["degraded"], "generator" in answer["metadata"]["reason"]) == (True, True)
            events = read_events(client.post(QUERY, json=body, headers=STREAM).text)
            assert "".join(data["text"] for name, data in events if name == "token") == whole["response"]
            assert (events[-1][0], events[-1][1]["degraded"]) == ("done", True)
            chat = {"model": "hdx-assistant", "messages": [{"role": "user", "content": body["query"]}]}
            told = client.post("/v1/chat/completions", json=chat).raise_for_status().json()
            assert (bool(told["citations"]), told["degraded"]) == (True, True)
            window = {"system_id": system, "sensor_data": faulty, "language": "en"}
            advice = client.post("/api/diagnostics/diagnose/", json=window).raise_for_status().json()["advice"]
            assert (bool(advice["steps"]), advice["metadata"]["degraded"]) == (True, True)
            assert client.get("/health/").json()["checks"]["rag_service"] == "degraded"
        finally:
            generator.resume()
        wait_for(lambda: client.get("/health/").json()["checks"]["rag_service"] == "ok")
        assert not asked(client, body["query"])["metadata"]["degraded"]


def test_a_document_comes_within_seconds_and_goes_at_once(service: Service) -> None:
    """Its quote stands in its page; readers see it two seconds after it is ready; removed, nobody finds it."""
    with service.client() as client:
        address = upload(client, "press 9.md", "# Press 9\n\nThe relief valve of press 9 opens at 217 bar.")
        wait_for(lambda: state_of(client, address) == "ready")
        text = "At what pressure does the relief valve of press 9 open?"
        assert wait_for(lambda: "217 bar" in quotes(asked(client, text)), 10) < 2.5
        citation = next(quote for quote in asked(client, text)["citations"] if "217 bar" in quote["quote"])
        page = client.get(f"{DOCUMENTS}{citation['document_id']}/pages/{citation['page']}/").json()["text"]
        assert page[citation["start"] : citation["end"]] == citation["quote"]
        assert client.delete(address).status_code == 204
        assert wait_for(lambda: "217 bar" not in str(asked(client, text)), 10) < 2.5
        assert client.get(address).status_code == 404


def test_a_broken_file_is_named_and_harms_no_other(service: Service) -> None:
    """It fails with its reason, and the one behind it is indexed."""
    with service.client() as client:
        broken = client.post(DOCUMENTS, files={"file": ("broken.pdf", b"%PDF-1.7 broken")}).headers["location"]
        sound = upload(client, "sound.md", "# Sound\n\nThe manual of the sound file is whole.")
        wait_for(lambda: state_of(client, sound) == "ready")
        wait_for(lambda: state_of(client, broken) == "failed")
        failed = client.get(broken).json()
        assert (failed["state"], "readable PDF" in failed["reason"]) == ("failed", True)
        assert client.delete(broken).status_code == client.delete(sound).status_code == 204


def test_hostile_files_cost_nobody_else_anything(service: Service) -> None:
    """While another tenant's are in work pages become ready, questions are answered in full, and removals taken."""
    service.hdx(
        *("user", "create", "hostile", "--email", "hostile@example.com", "--role", "engineer"),
        *("--tenant", "hostile", "--password", "the password of that one"),
    )
    with service.client("hostile", "the password of that one") as theirs, service.client() as client:
        files = [(name, HOSTILE[name]()) for name in ("forms.pdf", "anchors.html", "paragraphs.docx", "comments.html")]
        addresses = [theirs.post(DOCUMENTS, files={"file": file}).headers["location"] for file in files]
        wait_for(lambda: any(state_of(theirs, address) == "indexing" for address in addresses))
        time.sleep(3)  # then some are beyond their first seconds
        for number in range(3):
            address = upload(client, f"beside-{number}.md", f"# Beside {number}\n\nThe relief valve opens at 217 bar.")
            wait_for(lambda: state_of(client, address) == "ready")  # noqa: B023 (called at once)
            assert not asked(client, "At what pressure does the relief valve open?")["metadata"]["degraded"]
            assert client.delete(address).status_code == 204
        assert {state_of(theirs, address) for address in addresses} & {"queued", "indexing"}
        assert [theirs.delete(address).status_code for address in addresses] == [204] * len(addresses)


def test_tenants_ask_their_own_at_the_same_time(service: Service) -> None:
    """Two tenants with the same question under load: each is told its own figure, and never the other's."""
    for tenant in ("north", "south"):
        service.hdx(
            *("user", "create", f"{tenant}-engineer", "--email", f"{tenant}@example.com", "--role", "engineer"),
            *("--tenant", tenant, "--password", f"{tenant}-password-1"),
        )
    own = {"north": "311 bar", "south": "422 bar"}
    with (
        service.client("north-engineer", "north-password-1") as north,
        service.client("south-engineer", "south-password-1") as south,
    ):
        clients = {"north": north, "south": south}
        addresses = {
            name: upload(client, "valve.md", f"# Main valve\n\nThe main valve of the plant is set to {own[name]}.")
            for name, client in clients.items()
        }
        for name, client in clients.items():
            wait_for(lambda client=client, name=name: state_of(client, addresses[name]) == "ready")  # type: ignore[misc]
        time.sleep(2)

        def one(number: int) -> tuple[str, str]:
            name = ("north", "south")[number % 2]
            return name, str(asked(clients[name], "To what pressure is the main valve of the plant set?"))

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(one, range(100)))
        for name, answer in answers:
            other = own["south" if name == "north" else "north"]
            assert own[name] in answer
            assert other not in answer
        stolen = addresses["north"].rstrip("/").rpartition("/")[2]
        assert south.get(f"{DOCUMENTS}{stolen}/").status_code == 404


def test_an_answer_is_streamed_and_adds_up(service: Service) -> None:
    """Over the real graph: sources, the words one by one, citations, the end."""
    with service.client() as client:
        body = {"query": "Как устранить падение давления в гидросистеме?"}
        whole = client.post(QUERY, json=body).json()
        events = read_events(client.post(QUERY, json=body, headers=STREAM).text)
        names = [name for name, _ in events]
        assert names[0] == "sources"
        assert set(names[1:-2]) == {"token"}
        assert names[-2:] == ["citations", "done"]
        assert "".join(data["text"] for name, data in events if name == "token") == whole["response"]
        assert events[-2][1] == whole["citations"]
        assert events[-1][1]["steps"] == whole["steps"]


@pytest.mark.parametrize(("fault", "words"), [("clogged_filter", "filter"), ("cavitation", "cavitation")])
def test_a_fault_is_diagnosed_with_its_repair(service: Service, fault: str, words: str) -> None:
    """A window of a faulty machine comes back with what is wrong and cited steps against it."""
    values = {name: samples.tolist() for name, samples in simulate(fault, 1.0, 60, 3).values.items()}
    with service.client() as client:
        system = commissioned(client, fault)
        body = {"system_id": system, "sensor_data": values, "language": "en"}
        answer = client.post("/api/diagnostics/diagnose/", json=body).raise_for_status().json()
    assert answer["finding"]["prediction"]["is_anomaly"], answer["finding"]["prediction"]
    assert words in answer["query"].lower()
    advice = answer["advice"]
    assert words in advice["citations"][0]["title"].lower()
    assert advice["steps"]
    assert advice["safety"]
    assert any(step["requires_shutdown"] for step in advice["steps"])
    cited = {citation["n"]: citation["quote"] for citation in advice["citations"]}
    assert all(cited[step["citation"]] == step["text"] for step in advice["steps"])


def test_openais_own_client_is_understood(service: Service) -> None:
    """Models, an answer, a stream with usage, and a wrong key, by the official client."""
    key = service.hdx("user", "key", "test").strip()
    with openai.OpenAI(base_url=f"{service.base}/v1", api_key=key, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["hdx-assistant"]
        question: Any = [
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": [{"type": "text", "text": "How to fix hydraulic pressure drop?"}]},
        ]
        whole = client.chat.completions.create(model="hdx-assistant", messages=question, temperature=0.2)
        text = whole.choices[0].message.content
        assert text
        assert re.search(r"\[1\]", text)
        assert whole.usage
        assert whole.usage.completion_tokens > 0
        chunks = list(
            client.chat.completions.create(
                model="hdx-assistant", messages=question, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        assert chunks[-1].usage == whole.usage
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-9", messages=question)
    with (
        openai.OpenAI(base_url=f"{service.base}/v1", api_key="hdx_wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()
