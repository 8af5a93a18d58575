"""Rules of what small files that are made to cost much may cost: twice the file, about twice the steps."""

import re
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.documents import read_document
from pipelines.knowledge.ingest.ingest import prepare
from pipelines.knowledge.ingest.injection import order_in
from pipelines.knowledge.ingest.passages import HEADING_MAX

# Eight times the file: linear work is eight times as much, and what grows with the square sixty-four times. The bound
# lies between: caches of a processor that others use, too, make linear work cost twice as much.
TIMES, LINEAR = 8, 24


def growth(work: Callable[[int], object], size: int) -> float:
    """Return how much more of the processor's time a work takes that is `TIMES` as large; the least of several."""

    def seconds(size: int) -> float:
        begun = time.process_time()
        work(size)
        return time.process_time() - begun

    work(size // 10)
    return min(seconds(TIMES * size) for _ in range(2)) / min(seconds(size) for _ in range(3))


def filled(unit: str, size: int) -> str:
    """Return a text of a size that says one thing over and over."""
    return (unit * (size // len(unit) + 1))[:size]


@pytest.mark.parametrize(
    ("unit", "size"),
    [("<a", 3_000), ("<", 3_000), ("http://a?=", 3_000), ("?=", 1_000), ("![", 3_000), ("send http://a?", 3_000)],
)
def test_a_sentence_is_searched_for_orders_in_linear_time(unit: str, size: int) -> None:
    """However long it is: a heading is a sentence, too."""
    assert growth(lambda size: order_in(f"http://{filled(unit, size)}"), size) < LINEAR


@pytest.mark.parametrize(
    ("name", "unit", "size"),
    [
        ("a.html", "<a", 20_000),
        ("a.html", "<br>1", 20_000),
        ("a.html", "<br>a", 20_000),
        ("a.md", "[[", 20_000),
        ("a.md", "****", 20_000),
        ("a.md", "> > ", 20_000),
        ("a.md", "(((", 20_000),
        ("a.md", "|", 20_000),
        ("a.md", "<a", 20_000),
        ("a.txt", "<a", 20_000),
        ("a.txt", "«", 20_000),
    ],
)
def test_a_file_is_read_in_linear_time(name: str, unit: str, size: int) -> None:
    """Read or refused: what is nested, opened or run on without end costs by its length alone."""

    def read(size: int) -> None:
        try:
            read_document(name, filled(unit, size).encode())
        except InvalidInput as error:
            assert "must" in str(error)

    assert growth(read, size) < LINEAR


def calls(work: Callable[[], object]) -> int:
    """Count the functions that a work calls."""
    count = 0

    def note(frame: object, event: str, _: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_headings_in_banners_in_headings_are_read_once() -> None:
    """Nested in one another each is visited once: it was twice, four times, eight times and so on."""

    def page(depth: int) -> bytes:
        return ("<header><h1>a " * depth + "</h1></header>" * depth + "<p>The pump leaks oil.").encode()

    read_document("a.html", page(2))
    few, many = (calls(partial(read_document, "a.html", page(depth))) for depth in (6, 12))
    assert many < 3 * few


def test_a_heading_is_bounded_before_it_is_read_with_each_passage() -> None:
    """However long it is, no passage below it is dearer for that."""

    def page(words: int) -> bytes:
        return ("# " + "pump " * words + "\n" + "It leaks oil.\n## Part\n" * 20).encode()

    _, passages = prepare("a.md", page(5_000))
    assert {len(re.sub(" > Part$", "", passage.heading)) for passage in passages} == {HEADING_MAX}
    assert growth(lambda size: prepare("a.md", page(size)), 5_000) < TIMES / 2
