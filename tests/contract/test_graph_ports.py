"""Rules of the ports over the graph: a hop's failure is one of our errors, and tells a caller nothing of the inside."""

import asyncio
import logging

import pytest
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from pipelines.errors import HdxError, NotFound, Overloaded, Unavailable
from serve_app.replicas.graph_ports import reach
from serve_app.shared import logs

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


async def test_what_a_caller_is_not_told_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The kind of an unexpected error and the part that raised it are kept for whoever mends it."""
    logger = logging.getLogger(logs.LOGGER)
    logger.addHandler(caplog.handler)

    async def hop() -> None:
        raise over_actors(ValueError("no such column"))

    with pytest.raises(Unavailable):
        await reach("retriever", hop(), 5)
    logger.removeHandler(caplog.handler)
    record = caplog.records[-1]
    assert (record.message, vars(record)["fields"]) == ("hop.failed", {"part": "retriever"})
    assert isinstance(vars(record)["error"], ValueError)
