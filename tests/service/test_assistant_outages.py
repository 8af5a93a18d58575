"""Rules of asking while a part is away, on a real index of the built-in articles."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

from configs.settings import Knowledge
from deployments.generator import engine_of
from pipelines.errors import Unavailable
from pipelines.knowledge.answer.advice import advised
from pipelines.knowledge.answer.answer import Event, Params
from pipelines.knowledge.records import Answer, Found, Made, Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index
from serve_app.api.ports import Asked
from serve_app.replicas import graph_ports
from serve_app.replicas.graph_ports import BY_GATEWAY, BY_WORDS, GraphAssistant
from tests.contract.stand_ins import settings_for

ENGLISH = Asked(7, "How to fix hydraulic pressure drop?", 3)
RUSSIAN = Asked(7, "Как устранить падение давления в гидросистеме?", 3)


@pytest.fixture(scope="module")
def library(shelf: Path) -> Index:
    return Index.open(shelf, multilingual=False)


def method(call: Callable[..., Awaitable[object]]) -> Any:
    """A handle's method whose replica is this process."""
    return SimpleNamespace(remote=call)


class Cancellable:
    """A stream as a handle returns it."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    def cancel(self) -> None:
        """Nothing runs behind it."""


class Parts:
    """Encoder, index and generator behind handles; those of encoder and generator may be taken away."""

    def __init__(self, encoder: Encoder, index: Index, home: Path) -> None:
        self.outage: Callable[[], Awaitable[object]] | None = None
        self.generator_lost = False
        self._encoder, self._index, self._engine = encoder, index, engine_of(Knowledge(), None)
        generator: Any = SimpleNamespace(
            answer=method(self._answer),
            options=lambda **_: SimpleNamespace(stream=SimpleNamespace(remote=self._stream)),
        )
        embedder: Any = SimpleNamespace(encode=method(self._encode))
        retriever: Any = SimpleNamespace(search=method(self._search))
        self.assistant = GraphAssistant(embedder, retriever, generator, settings_for(home))

    async def _encode(self, texts: list[str]) -> tuple[object, Made]:
        if self.outage is not None:
            await self.outage()
        return self._encoder.encode(texts).astype(np.float64), self._encoder.made

    async def _search(self, tenant_id: int, question: Question) -> Found:
        return await asyncio.to_thread(self._index.find, tenant_id, question)

    async def _answer(self, question: Question, found: Found) -> Answer:
        if self.generator_lost:
            raise ActorDiedError
        *_, answer = [event async for event in self._engine.stream(question, found.hits, Params())]
        assert isinstance(answer, Answer)
        return advised(answer, question, found)

    def _stream(self, question: Question, found: Found) -> Any:
        return Cancellable(self._engine.stream(question, found.hits, Params()))


async def lost() -> None:
    raise ActorDiedError


async def silent() -> None:
    await asyncio.sleep(60)


async def broken() -> None:
    raise OSError("no weights")


@pytest.fixture
def parts(encoder: Encoder, library: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(graph_ports, "EMBEDDER_S", 0.5)
    return Parts(encoder, library, tmp_path)


@pytest.mark.parametrize("outage", [lost, silent, broken])
async def test_without_the_embedder_words_find(parts: Parts, outage: Callable[[], Awaitable[object]]) -> None:
    """Lost, silent or broken: the answer quotes what words find, and says so; so does health."""
    whole = await parts.assistant.ask(ENGLISH)
    assert (whole.grounded, whole.degraded, await parts.assistant.health()) == (True, False, "ok")
    parts.outage = outage
    answer = await parts.assistant.ask(ENGLISH)
    assert (answer.grounded, answer.degraded, answer.reason) == (True, True, BY_WORDS)
    assert answer.citations[0].document_id == whole.citations[0].document_id
    assert await parts.assistant.health() == "degraded"
    *_, streamed = [event async for event in parts.assistant.stream(ENGLISH)]
    assert isinstance(streamed, Answer)
    assert (streamed.text, streamed.degraded) == (answer.text, True)


async def test_russian_without_the_embedder_is_found_by_words(parts: Parts) -> None:
    """Both languages are searched by words and by vector, and by words alone while there are none."""
    whole = await parts.assistant.ask(RUSSIAN)
    parts.outage = lost
    answer = await parts.assistant.ask(RUSSIAN)
    assert (whole.grounded, whole.degraded) == (True, False)
    assert (answer.grounded, answer.degraded, answer.reason) == (True, True, BY_WORDS)


async def test_a_refusal_without_the_embedder_says_both(parts: Parts) -> None:
    """Why it abstains, and that less was searched than would be."""
    parts.outage = lost
    answer = await parts.assistant.ask(Asked(7, "Who won the football cup?", 3))
    assert (answer.abstained, answer.degraded) == (True, True)
    assert answer.reason.endswith(f"; {BY_WORDS}")


async def test_the_gateway_quotes_what_the_generator_would(parts: Parts) -> None:
    """Text, citations, steps and safety notes are the same; without the encoder too, the reason names both."""
    whole = await parts.assistant.ask(ENGLISH)
    parts.generator_lost = True
    answer = await parts.assistant.ask(ENGLISH)
    assert whole.steps
    assert answer == replace(whole, degraded=True, reason=BY_GATEWAY, milliseconds=answer.milliseconds)
    parts.outage = lost
    assert (await parts.assistant.ask(ENGLISH)).reason == f"{BY_GATEWAY}; {BY_WORDS}"


async def test_without_the_index_there_is_no_answer(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be done without is named."""

    def gone(*_: object) -> Found:
        raise OSError("/srv/index")

    monkeypatch.setattr(parts._index, "find", gone)
    with pytest.raises(Unavailable, match="retriever: it failed"):
        await parts.assistant.ask(RUSSIAN)
    assert await parts.assistant.health() == "down"
