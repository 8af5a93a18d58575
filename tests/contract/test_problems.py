"""Every error of the tree as a problem."""

import json
import pickle

import pytest

from pipelines import errors
from pipelines.errors import HdxError
from serve_app.api.problems import INTERNAL, encode, problem_of, shown

EXAMPLES: list[HdxError] = [
    errors.InvalidInput("sensor_data.pressure[3]", float("nan"), "must be finite"),
    errors.OverLimit("readings", 20_000, "must hold 1 to 10000 moments"),
    errors.KeyReused("idempotency-key", "k", "must stand for one request"),
    errors.KeyInUse("idempotency-key", "k", "must wait"),
    errors.AnswerLost("idempotency-key", "k", "must be a new one"),
    errors.PasswordRefused("password", "must have at least 15 characters"),
    errors.MalformedBody("must be JSON"),
    errors.UnsupportedContent("text/plain", "application/json"),
    errors.UnsupportedCoding("br", "gzip, identity"),
    errors.TooSlow(10.0),
    errors.TooLarge("body", 10),
    errors.Unauthenticated(),
    errors.Forbidden("needs one of the roles admin"),
    errors.NotFound("system", 7),
    errors.Conflict("username", "admin"),
    errors.UnknownFamily("press", ("generic", "rig")),
    errors.Overloaded(3),
    errors.QuotaExceeded("tenant-chat", 3000, 7),
    errors.Unavailable("database", "does not answer"),
    errors.NoQuorum("ensemble", "1 of 4 voted"),
    errors.ArtefactRejected("catboost", "not the registered file"),
]


def tree(kind: type[HdxError]) -> set[type[HdxError]]:
    """The class and all below it."""
    return {kind}.union(*(tree(below) for below in kind.__subclasses__() if below.__module__ == kind.__module__))


def test_the_examples_are_the_whole_tree() -> None:
    """A new error needs an example here."""
    assert {type(error) for error in EXAMPLES} | {HdxError} == tree(HdxError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: error.code)
def test_each_error_is_a_problem_of_its_own(error: HdxError) -> None:
    """Code, status and title are the class's, the rule or detail is in words, and the whole is strict JSON."""
    problem = problem_of(error)
    body = json.loads(encode(problem.body("/path", "trace")))
    assert (problem.status, problem.code, problem.title) == (error.status, error.code, error.title)
    assert body["type"] == f"urn:hdx:problem:{error.code}"
    assert body["detail"]
    assert (body["instance"], body["trace_id"]) == ("/path", "trace")
    assert ("www-authenticate" in problem.headers) is (error.status == 401)
    comes_again = error.status == 429 or isinstance(error, errors.KeyInUse)
    assert ("retry-after" in problem.headers) is comes_again


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: error.code)
def test_each_error_survives_a_hop(error: HdxError) -> None:
    """Pickled and back, it renders the same."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert encode(problem_of(again).body("/", "t")) == encode(problem_of(error).body("/", "t"))


@pytest.mark.parametrize("error", [HdxError("secret"), RuntimeError("secret"), KeyError("secret")])
def test_what_is_not_meant_for_callers_says_nothing(error: Exception) -> None:
    """The root of the tree and anything foreign share one text."""
    assert problem_of(error) == INTERNAL


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**64, "an integer beyond 2^53"),
        ("x" * 500, "x" * 80),
        ([1, 2], "array of 2"),
        ({"a": 1}, "object"),
        (True, True),
        (None, None),
    ],
)
def test_values_are_shown_cut_to_what_is_safe(value: object, expected: object) -> None:
    """Nothing long, nothing that JSON cannot hold."""
    assert shown(value) == expected
