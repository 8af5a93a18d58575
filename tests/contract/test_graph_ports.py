"""Rules of the ports over the graph: a hop's failure is one of our errors, and tells a caller nothing of the inside."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from structlog.testing import capture_logs

from configs.settings import Knowledge
from pipelines.errors import HdxError, NotFound, Overloaded, Unavailable
from pipelines.knowledge.answer.answer import Event
from pipelines.knowledge.records import Found, Hit, Made
from serve_app.api.ports import Asked
from serve_app.replicas import graph_ports
from serve_app.replicas.graph_ports import GraphAssistant, reach
from tests.contract.stand_ins import PASSAGE, settings_for

INSIDE = "password=hunter2 in /srv/inside.py"
OURS = NotFound("model", "pump")
NO_REPLY, FAILED = Unavailable("retriever", "no reply"), Unavailable("retriever", "it failed")


def over_actors(cause: Exception) -> Exception:
    """Wrap an error as Ray does at every hop."""
    wrapped: Exception = RayTaskError("search", INSIDE, cause, "ray", 1, "127.0.0.1").as_instanceof_cause()
    return wrapped


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OURS, OURS),
        (over_actors(OURS), OURS),
        (over_actors(over_actors(OURS)), OURS),
        (BackPressureError(5, 5), Overloaded(1)),
        (over_actors(BackPressureError(5, 5)), Overloaded(1)),
        (TimeoutError(INSIDE), NO_REPLY),
        (ActorDiedError(), NO_REPLY),
        (RayError(INSIDE), NO_REPLY),
        (RayServeException(INSIDE), NO_REPLY),
        (ValueError(INSIDE), FAILED),
        (over_actors(ValueError(INSIDE)), FAILED),
        (MemoryError(INSIDE), FAILED),
        (ExceptionGroup(INSIDE, [ValueError(INSIDE)]), FAILED),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_hop_raises_is_one_of_our_errors(raised: Exception, expected: HdxError) -> None:
    """By gRPC Ray hands over exceptions as they are, by actor calls wrapped: both become the same, and say nothing."""

    async def hop() -> None:
        raise raised

    with pytest.raises(HdxError) as caught:
        await reach("retriever", hop(), 5)
    assert type(caught.value) is type(expected)
    assert (str(caught.value), vars(caught.value)) == (str(expected), vars(expected))
    assert caught.value.__cause__ is None


async def test_a_hop_without_a_reply_ends_by_its_limit() -> None:
    """A silent part is one that is away."""
    with pytest.raises(Unavailable, match="retriever: no reply"):
        await reach("retriever", asyncio.sleep(60), 0.01)


async def test_what_a_caller_is_not_told_stands_in_the_log() -> None:
    """The kind of an unexpected error and the part that raised it are kept for whoever mends it."""

    async def hop() -> None:
        raise over_actors(ValueError("no such column"))

    with capture_logs() as lines, pytest.raises(Unavailable):
        await reach("retriever", hop(), 5)
    assert (lines[-1]["event"], lines[-1]["part"]) == ("hop.failed", "retriever")
    assert isinstance(lines[-1]["error"], ValueError)


class Pieces:
    """What a streaming handle returns: items as they come, an error among them raised, None never followed."""

    def __init__(self, *items: Event | BaseException | None) -> None:
        self._items = list(items)
        self.cancelled = False

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> Event:
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if item is None:
            await asyncio.sleep(60)
        if isinstance(item, BaseException):
            raise item
        assert item is not None
        return item

    def cancel(self) -> None:
        self.cancelled = True


def reply(value: object) -> Any:
    """A handle's method with one reply."""

    async def call() -> object:
        if isinstance(value, Exception):
            raise value
        return value

    return SimpleNamespace(remote=lambda *_: call())


def assistant_over(pieces: Pieces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GraphAssistant:
    """The port over handles that answer at once, and a generator that is waited for a tenth of a second."""
    monkeypatch.setattr(graph_ports, "FALLBACK_S", 0.1 - Knowledge().timeout_s)
    embedder: Any = SimpleNamespace(encode=reply((np.ones((1, 2)), Made("stand-in", 2))))
    retriever: Any = SimpleNamespace(search=reply(Found((Hit(PASSAGE, 0.9),))))
    streaming = SimpleNamespace(stream=SimpleNamespace(remote=lambda *_: pieces))
    generator: Any = SimpleNamespace(options=lambda **_: streaming)
    return GraphAssistant(embedder, retriever, generator, settings_for(tmp_path))


async def test_a_slow_reader_gets_the_whole_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts waiting for the model: who takes their time over each piece is not cut."""
    pieces = Pieces("one", "two", "three")
    read = []
    async for event in assistant_over(pieces, tmp_path, monkeypatch).stream(Asked(1, "why", 1)):
        await asyncio.sleep(0.06)
        read.append(event)
    assert read[1:] == ["one", "two", "three"]
    assert pieces.cancelled


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (None, "no reply"),
        (asyncio.CancelledError(), "no reply"),
        (ActorDiedError(), "no reply"),
        (ValueError(INSIDE), "it failed"),
    ],
    ids=["late", "stopped", "lost", "broken"],
)
async def test_a_stream_whose_model_is_lost_ends_in_an_error(
    end: BaseException | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late, stopped, lost or broken: the reader is told, by an error that a route makes its last event of."""
    pieces = Pieces("one", end)
    read = []
    with pytest.raises(Unavailable, match=f"generator: {reason}"):
        async for event in assistant_over(pieces, tmp_path, monkeypatch).stream(Asked(1, "why", 1)):
            read.append(event)
    assert read[1:] == ["one"]
    assert pieces.cancelled
