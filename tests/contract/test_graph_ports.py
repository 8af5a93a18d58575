"""Rules of the ports over the graph: a hop's failure is one of our errors, and tells a caller nothing of the inside."""

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from structlog.testing import capture_logs

from pipelines.errors import HdxError, NotFound, Overloaded, Unavailable
from pipelines.knowledge.answer.answer import Event, extract
from pipelines.knowledge.records import Answer, Found, Hit, Made, Question
from serve_app.api.ports import Asked
from serve_app.replicas import graph_ports
from serve_app.replicas.graph_ports import BY_GATEWAY, GraphAssistant, reach
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
    """A handle's method with one reply; None never comes."""

    async def call() -> object:
        if value is None:
            await asyncio.sleep(60)
        if isinstance(value, BaseException):
            raise value
        return value

    return SimpleNamespace(remote=lambda *_: call())


FOUND = Found((Hit(PASSAGE, 0.9),))
ASKED = Asked(1, "Check the suction line", 1)
QUOTED = extract(Question(ASKED.text, "en", 1), FOUND.hits)
LOST = [
    pytest.param(None, id="late"),
    pytest.param(asyncio.CancelledError(), id="stopped"),
    pytest.param(ActorDiedError(), id="lost"),
    pytest.param(TimeoutError(INSIDE), id="timeout"),
    pytest.param(over_actors(ValueError(INSIDE)), id="broken"),
    pytest.param(over_actors(Unavailable("model", "no reply")), id="unavailable"),
]


def assistant_over(answers: Any, tmp_path: Path, found: Found = FOUND) -> GraphAssistant:
    """The port over handles that answer at once, and a generator that is waited for a tenth of a second."""
    embedder: Any = SimpleNamespace(encode=reply((np.ones((1, 2)), Made("stand-in", 2))))
    retriever: Any = SimpleNamespace(search=reply(found))
    streaming = SimpleNamespace(stream=SimpleNamespace(remote=lambda *_: answers))
    generator: Any = SimpleNamespace(options=lambda **_: streaming, answer=reply(answers))
    assistant = GraphAssistant(embedder, retriever, generator, settings_for(tmp_path))
    assistant._patience_s = 0.1
    return assistant


async def test_a_slow_reader_gets_the_whole_stream(tmp_path: Path) -> None:
    """The limit counts waiting for the model: who takes their time over each piece is not cut."""
    pieces = Pieces("one", "two", "three")
    read = []
    async for event in assistant_over(pieces, tmp_path).stream(ASKED):
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
    end: BaseException | None, reason: str, tmp_path: Path
) -> None:
    """Late, stopped, lost or broken: the reader is told, by an error that a route makes its last event of."""
    pieces = Pieces("one", end)
    read = []
    with pytest.raises(Unavailable, match=f"generator: {reason}"):
        async for event in assistant_over(pieces, tmp_path).stream(ASKED):
            read.append(event)
    assert read[1:] == ["one"]
    assert pieces.cancelled


@pytest.mark.parametrize("end", LOST)
async def test_without_the_generator_the_gateway_quotes(end: BaseException | None, tmp_path: Path) -> None:
    """Late, stopped, lost or broken: the extractive answer, marked as one that a part was missing for."""
    answer = await assistant_over(end, tmp_path).ask(ASKED)
    assert (answer.text, answer.citations, answer.grounded) == (QUOTED.text, QUOTED.citations, True)
    assert (answer.degraded, answer.reason) == (True, BY_GATEWAY)
    assert answer.milliseconds.keys() == {"search", "answer"}


@pytest.mark.parametrize("end", LOST)
async def test_a_stream_without_a_piece_is_quoted_by_the_gateway(end: BaseException | None, tmp_path: Path) -> None:
    """As long as no text has gone out the reader misses nothing: the pieces add up to the extractive answer."""
    pieces = Pieces(end)
    hits, *words, answer = [event async for event in assistant_over(pieces, tmp_path).stream(ASKED)]
    assert hits == FOUND.hits
    assert isinstance(answer, Answer)
    assert "".join(str(word) for word in words) == answer.text == QUOTED.text
    assert (answer.degraded, answer.reason) == (True, BY_GATEWAY)
    assert pieces.cancelled


async def test_a_refusal_of_the_gateway_says_both(tmp_path: Path) -> None:
    """Why it abstains, and who was away."""
    answer = await assistant_over(ActorDiedError(), tmp_path, Found(())).ask(ASKED)
    assert (answer.abstained, answer.degraded) == (True, True)
    assert answer.reason.endswith(f"of it; {BY_GATEWAY}")


async def test_a_generator_with_too_much_to_do_is_no_lost_one(tmp_path: Path) -> None:
    """Overload is the caller's to wait for; work done in another place would make it worse."""
    with pytest.raises(Overloaded):
        await assistant_over(BackPressureError(5, 5), tmp_path).ask(ASKED)
    stream = assistant_over(Pieces(BackPressureError(5, 5)), tmp_path).stream(ASKED)
    with pytest.raises(Overloaded):
        _ = [event async for event in stream]


async def test_whoever_leaves_gets_no_answer_of_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving while the generator is waited for stays a cancellation."""
    extracted: list[object] = []
    monkeypatch.setattr(graph_ports, "extract", lambda *given: extracted.append(given))
    pieces = Pieces(None)

    async def read() -> None:
        async with aclosing(assistant_over(pieces, tmp_path).stream(ASKED)) as events:
            _ = [event async for event in events]

    for reading in (asyncio.create_task(read()), asyncio.create_task(assistant_over(None, tmp_path).ask(ASKED))):
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert pieces.cancelled
    assert extracted == []


async def test_the_gateway_quotes_beside_its_loop_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that takes too long to quote from ends in an error, and holds up no other request."""
    monkeypatch.setattr(graph_ports, "FALLBACK_S", 0.05)
    monkeypatch.setattr(graph_ports, "extract", lambda *_: time.sleep(0.5))
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="generator: no reply"):
        await assistant_over(ActorDiedError(), tmp_path).ask(ASKED)
    assert time.monotonic() - begun < 0.4


@pytest.mark.parametrize(
    ("generator", "state"),
    [(QUOTED, "ok"), (None, "degraded"), (ActorDiedError(), "degraded"), (BackPressureError(5, 5), "degraded")],
    ids=["there", "late", "lost", "busy"],
)
async def test_health_tells_of_the_generator(
    generator: object, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it questions are answered, so it takes nothing down."""
    monkeypatch.setattr(graph_ports, "PROBE_S", 0.05)
    assert await assistant_over(generator, tmp_path).health() == state
