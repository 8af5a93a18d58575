"""Rules of the error tree."""

import inspect
import pickle
import re

import pytest

from pipelines import errors
from pipelines.errors import HdxError

EXAMPLES = [
    errors.HdxError("text"),
    errors.InvalidInput("sensor_data.pressure[3]", "high", "must be a number"),
    errors.OverLimit("readings", 10_001, "must be an array of 1 to 10000 rows"),
    errors.PasswordRefused("password", "must have at least 15 characters"),
    errors.KeyReused("idempotency-key", "k", "must stand for one request"),
    errors.MalformedBody("must be JSON"),
    errors.UnsupportedContent("text/html", "application/json"),
    errors.UnsupportedCoding("br", "identity"),
    errors.TooSlow(10.0),
    errors.TooLarge("body", 1_000_000),
    errors.Unauthenticated(),
    errors.Forbidden("needs the role admin"),
    errors.NotFound("system", 7),
    errors.Conflict("email", "a@example.com"),
    errors.KeyInUse("idempotency-key", "k", "must wait"),
    errors.AnswerLost("idempotency-key", "k", "must be a new one"),
    errors.UnknownFamily("press", ("generic", "rig")),
    errors.Overloaded(3),
    errors.QuotaExceeded("tenant-chat", 3000, 7),
    errors.Unavailable("ensemble", "no reply"),
    errors.NoQuorum("ensemble", "1 of 2"),
    errors.ArtefactRejected("anomaly.cbm", "is missing"),
]
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HdxError)]


def test_every_class_has_an_example_here() -> None:
    """A new error cannot be forgotten below."""
    assert {type(error) for error in EXAMPLES} == set(CLASSES)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_every_hop(error: HdxError) -> None:
    """Pickled and back, an error says the same and knows the same."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes, to see that they survive)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert (again.status, again.code, again.title) == (error.status, error.code, error.title)


def test_the_drawn_tree_is_the_tree() -> None:
    """The picture at the top of the file shows every class with its status, and no other."""
    drawn = dict(re.findall(r"(\w+)\s+(\d{3}) ", errors.__doc__ or ""))
    assert drawn == {kind.__name__: str(kind.status) for kind in CLASSES}
