"""Rules of answering through a language model's server, on a real socket."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from configs.settings import Knowledge
from pipelines.knowledge.answer.answer import Params
from pipelines.knowledge.answer.llm import LanguageModel
from pipelines.knowledge.answer.openai_client import ChatServer
from pipelines.knowledge.ingest.documents import read_document
from pipelines.knowledge.ingest.passages import passages
from pipelines.knowledge.records import Answer, Hit, Question

PUMP = "# Pump wear\n\nA worn pump delivers less flow. Case drain flow above ten percent of delivery shows wear."


class Model(BaseHTTPRequestHandler):
    """A chat completion server that answers what its server was told to."""

    def do_POST(self) -> None:
        self.server.seen = json.loads(self.rfile.read(int(self.headers["content-length"])))  # type: ignore[attr-defined]
        status, body = self.server.reply  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def _setting(server: Any, **changes: Any) -> Knowledge:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return Knowledge(generator="openai", **{"openai_url": url, "openai_model": "tiny", "timeout_s": 5, **changes})


def _completion(text: object, end: str = "data: [DONE]\n\n") -> bytes:
    words = [f"{word} " for word in text.split(" ")] if isinstance(text, str) else [text]
    chunks = [json.dumps({"choices": [{"delta": {"content": word}}]}) for word in words]
    return "".join(f"data: {chunk}\n\n" for chunk in ['{"choices": []}', *chunks]).encode() + end.encode()


async def generate(question: Question, hits: list[Hit], knowledge: Knowledge) -> Answer:
    """Return the whole answer, once its pieces have been seen to add up to it."""
    engine = LanguageModel(ChatServer(knowledge), knowledge.timeout_s)
    *written, answer = [event async for event in engine.stream(question, hits, Params())]
    assert isinstance(answer, Answer)
    assert "".join(piece for piece in written if isinstance(piece, str)) == answer.text
    return answer


def _hits() -> list[Hit]:
    document = read_document("pump.md", PUMP.encode())
    return [Hit(passage, 0.8) for passage in passages(document)]


ASKED = Question("What case drain flow shows pump wear?", "en", 3)


async def test_a_models_words_are_kept_where_a_source_bears_them_out(server: Any) -> None:
    """The model gets the passages and the question; its cited sentence stays, its invention goes."""
    server.reply = 200, _completion("Case drain flow above ten percent shows wear [1]. Paint it red [1].")
    answer = await generate(ASKED, _hits(), _setting(server))
    assert (answer.model, answer.degraded, answer.grounded) == ("tiny", False, True)
    assert answer.text == "Case drain flow above ten percent shows wear [1]."
    assert answer.citations[0].quote == "Case drain flow above ten percent of delivery shows wear."
    assert server.seen["model"] == "tiny"
    assert "worn pump" in server.seen["messages"][1]["content"]


async def test_a_model_that_dies_in_its_answer_is_carried_on(server: Any) -> None:
    """What a source bears out has gone out and stays; quotes follow, numbered on, and the whole is marked."""
    server.reply = 200, _completion("A worn pump delivers less flow [1]. Case drain", end="")
    answer = await generate(ASKED, _hits(), _setting(server))
    assert answer.text.startswith("A worn pump delivers less flow [1].\n")
    assert answer.degraded
    assert "Unavailable" in answer.reason
    assert [citation.number for citation in answer.citations] == list(range(1, len(answer.citations) + 1))
    assert all(f"[{citation.number}]" in answer.text for citation in answer.citations)
    assert len(answer.citations) > 1


async def test_a_model_may_refuse(server: Any) -> None:
    """A model that finds no answer abstains, and is not overruled."""
    server.reply = 200, _completion("NO ANSWER")
    answer = await generate(ASKED, _hits(), _setting(server))
    assert (answer.model, answer.abstained, answer.degraded) == ("tiny", True, False)


@pytest.mark.parametrize(
    "reply",
    [
        (500, b"broken"),
        (401, b"{}"),
        (200, b""),
        (200, b"not json"),
        (200, b"data: []\n\n"),
        (200, b'data: {"choices": [{}]}\n\n'),
        (200, b"data: " + b"[" * 100_000),
        (200, _completion(None)),
        (200, _completion("")),
        (200, _completion("An answer without any source.")),
        (200, _completion("Case drain flow above 77 percent shows wear [1].")),
        (302, b""),
    ],
)
async def test_a_failing_model_costs_no_answer(server: Any, reply: tuple[int, bytes]) -> None:
    """Whatever comes back, the extractive answer stands in, and says so."""
    server.reply = reply
    answer = await generate(ASKED, _hits(), _setting(server))
    assert (answer.model, answer.degraded, answer.abstained) == ("extractive", True, False)
    assert answer.citations


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "not a url", "http://[broken"])
async def test_a_model_that_is_not_there_costs_no_answer(server: Any, url: str) -> None:
    """Down or set up wrongly, the extractive answer stands in."""
    answer = await generate(ASKED, _hits(), _setting(server, openai_url=url))
    assert (answer.model, answer.degraded) == ("extractive", True)


async def test_a_model_that_is_slow_is_not_waited_for() -> None:
    """After `timeout_s` the extractive answer stands in, though the server still holds the line."""
    released = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    answer = await generate(ASKED, _hits(), Knowledge(openai_url=url, timeout_s=0.2))
    released.set()
    silent.close()
    assert (answer.model, answer.degraded) == ("extractive", True)


async def test_who_stops_reading_stops_the_model() -> None:
    """The connection to the server is closed as soon as nobody listens any more."""
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + _completion("A worn pump delivers less flow [1]. The", end=""))
        await writer.drain()
        while await reader.read(1000):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    engine = LanguageModel(ChatServer(Knowledge(openai_url=url)), 5)
    events = engine.stream(ASKED, _hits(), Params())
    assert await anext(events) == "A worn pump delivers less flow [1]."
    await events.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(closed.wait(), 5)
    server.close()
