"""What a gateway refuses first when it is full, by real connections to a real server."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import uvicorn
import yaml

from configs.rates import Rates
from pipelines.diagnosis.records import Inspection, Judgement
from pipelines.knowledge.answer.answer import Event
from pipelines.knowledge.records import Answer, Hit
from serve_app.api.app import create_app
from serve_app.api.limiter import SENDING, SHARES
from serve_app.api.middleware import request as middleware
from serve_app.api.ports import Asked
from serve_app.replicas.worker import TOGETHER
from tests.contract.calls import CHAT, DETECT, WINDOW
from tests.contract.stand_ins import API_KEY, Bench, FixedAssistant, FixedDiagnoser, make_bench

PLACES = 32
KEY = {"x-api-key": API_KEY}
ROOT = Path(__file__).parents[2]


class Held:
    """Keeps whoever comes until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.waiting = 0

    async def wait(self) -> None:
        self.waiting += 1
        while not self.go.is_set():  # noqa: ASYNC110 (it is set by another thread)
            await asyncio.sleep(0.005)


class SlowAssistant(FixedAssistant):
    def __init__(self, held: Held) -> None:
        super().__init__()
        self.held = held

    async def ask(self, asked: Asked) -> Answer:
        await self.held.wait()
        return await super().ask(asked)

    async def stream(self, asked: Asked) -> AsyncGenerator[tuple[Hit, ...] | Event]:
        async for event in super().stream(asked):
            yield event


class SlowDiagnoser(FixedDiagnoser):
    def __init__(self, held: Held) -> None:
        super().__init__()
        self.held = held

    async def diagnose(self, inspection: Inspection) -> Judgement:
        await self.held.wait()
        return await super().diagnose(inspection)


@dataclass
class Gateway:
    """A running one, whose questions, and windows where they are slow, wait to be let go."""

    url: str
    questions: Held
    windows: Held
    bench: Bench


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """The application behind a socket, with few places."""
    bench = make_bench(tmp_path, rates=Rates(places=PLACES))
    questions, windows = Held(), Held()
    windows.go.set()
    slow = {"assistant": SlowAssistant(questions), "diagnoser": SlowDiagnoser(windows)}
    app = create_app(replace(bench.services, **slow))  # type: ignore[arg-type]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Gateway(f"http://127.0.0.1:{listener.getsockname()[1]}", questions, windows, bench)
        questions.go.set()
        windows.go.set()
        server.should_exit = True
        thread.join(30)


async def until(held: Held, number: int, sent: Sequence["asyncio.Task[httpx.Response]"]) -> None:
    """Wait until so many are held, and all others that were sent are answered: none of them is still on its way."""
    async with asyncio.timeout(60):
        while held.waiting < number or sum(each.done() for each in sent) < len(sent) - number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_questions_leave_room_for_detection(gateway: Gateway) -> None:
    """With half of the places full of questions more of them, documents and batches are refused; windows are not."""
    async with httpx.AsyncClient(base_url=gateway.url, headers=KEY, timeout=60, limits=httpx.Limits()) as client:
        asked = [asyncio.create_task(client.post("/v1/chat/completions", json=CHAT)) for _ in range(PLACES)]
        await until(gateway.questions, PLACES // 2, asked)
        for _ in range(5):  # wave after wave, while the questions stay where they are
            windows = await asyncio.gather(*(client.post(DETECT, json=WINDOW) for _ in range(PLACES // 4)))
            assert {reply.status_code for reply in windows} == {200}
        for reply in (
            await client.post("/v1/chat/completions", json=CHAT),
            await client.post(DETECT + "batch/", json={"items": [WINDOW]}),
            await client.get("/api/rag/documents/"),
        ):
            assert (reply.status_code, reply.json()["type"]) == (429, "urn:hdx:problem:overloaded")
            assert int(reply.headers["retry-after"]) >= 1
        assert (await client.get("/api/systems/")).status_code == 200
        assert gateway.questions.waiting == PLACES // 2
        gateway.questions.go.set()
        outcomes = Counter([(await each).status_code for each in asked])
    assert outcomes == {200: PLACES // 2, 429: PLACES // 2}


async def test_a_gateway_full_of_windows_keeps_places_for_watching(gateway: Gateway) -> None:
    """Windows take what is left of the places but a sixteenth, and nothing else comes in before them."""
    gateway.windows.go.clear()
    most = PLACES * 15 // 16
    items = [{**WINDOW, "sensor_data": {"pressure": [100.0 + n, 101.0, 102.0]}} for n in range(PLACES + 8)]
    async with httpx.AsyncClient(base_url=gateway.url, headers=KEY, timeout=60, limits=httpx.Limits()) as client:
        sent = [asyncio.create_task(client.post(DETECT, json=item)) for item in items]
        await until(gateway.windows, most, sent)
        for path in ("/api/systems/", "/api/rag/documents/", "/api/jobs/"):
            assert (await client.get(path)).status_code == 429
        assert (await client.get("/health/live")).status_code == 200
        assert gateway.windows.waiting == most
        gateway.windows.go.set()
        outcomes = Counter([(await each).status_code for each in sent])
        assert outcomes == {200: most, 429: len(items) - most}
        assert (await client.get("/api/systems/")).status_code == 200  # every place has come back


async def test_who_listens_for_alarms_takes_no_place(gateway: Gateway) -> None:
    """Streams of events stay open for hours: they leave the places to those who want an answer."""
    async with httpx.AsyncClient(base_url=gateway.url, headers=KEY, timeout=60, limits=httpx.Limits()) as client:
        listening = [
            client.stream("GET", "/api/systems/1/events/", headers={"accept": "text/event-stream"}) for _ in range(18)
        ]
        opened = [await each.__aenter__() for each in listening]
        assert {reply.status_code for reply in opened} == {200}
        gateway.questions.go.set()
        replies = await asyncio.gather(*(client.post("/v1/chat/completions", json=CHAT) for _ in range(PLACES // 2)))
        assert {reply.status_code for reply in replies} == {200}
        for each in listening:
            await each.__aexit__(None, None, None)


async def half(
    gateway: Gateway, method: str, path: str, *headers: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request without the end of its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    lines = (f"{method} {path} HTTP/1.1", "host: x", "content-type: application/json", *headers)
    writer.write("\r\n".join((*lines, "", "{")).encode())
    await writer.drain()
    return reader, writer


async def test_half_a_request_of_a_stranger_holds_no_place(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its path it is refused when its time is over, with the connection; meanwhile callers are answered."""
    monkeypatch.setattr(middleware, "STRANGERS_S", 3.0)
    short = "content-length: 16000"
    paths = [("POST", DETECT)] * 2 * PLACES + [("POST", "/api/auth/login/"), ("POST", "/internal/ml/api/v1/predict")]
    paths += [("GET", "/health/"), ("POST", "/health/"), ("GET", "/api/systems/1/events/"), ("POST", "/nowhere")]
    held = [await half(gateway, *each, short, "") for each in paths]
    async with httpx.AsyncClient(base_url=gateway.url, headers=KEY, timeout=60) as client:
        assert {(await client.post(DETECT, json=WINDOW)).status_code for _ in range(5)} == {200}
    for reader, writer in held:
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:hdx:problem:too-slow" in answer
        writer.close()


@pytest.mark.parametrize(("method", "path"), [("POST", "/health/"), ("GET", DETECT), ("POST", "/api/auth/login/")])
async def test_a_stranger_fills_no_memory(gateway: Gateway, method: str, path: str) -> None:
    """Where nobody is known, or nothing of a body is wanted, no long one is read."""
    reader, writer = await half(gateway, method, path, "content-length: 17000", "")
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_slow_senders_of_one_tenant_leave_places(gateway: Gateway) -> None:
    """Long bodies on their way have half of what their kind may have; what is complete comes in."""
    most = int(PLACES * SHARES["detect"] * SENDING)
    key = f"x-api-key: {API_KEY}"
    held = [await half(gateway, "POST", DETECT, "content-length: 20000", key, "") for _ in range(most + 1)]
    refused, _ = await asyncio.wait(
        [asyncio.create_task(reader.readline()) for reader, _ in held], return_when=asyncio.FIRST_COMPLETED
    )
    assert [each.result().split()[1] for each in refused] == [b"429"]
    async with httpx.AsyncClient(base_url=gateway.url, headers=KEY, timeout=60) as client:
        assert (await client.post(DETECT, json=WINDOW)).status_code == 200
    for _, writer in held:
        writer.close()


def test_places_are_those_of_the_gateway() -> None:
    """As many as Ray lets a replica have in hand, and what detection leaves is what the worker asks for together."""
    deployments = yaml.safe_load((ROOT / "serve_config.yaml").read_text(encoding="utf-8"))["applications"][0][
        "deployments"
    ]
    (gateway,) = (each for each in deployments if each["name"] == "Gateway")
    assert gateway["max_ongoing_requests"] == Rates().places
    assert Rates().places * (1 - max(SHARES.values())) == TOGETHER
    assert (
        min(SHARES["detect"], SHARES["readings"])
        > SHARES["management"]
        > max(SHARES[kind] for kind in ("chat", "documents", "batch"))
    )
