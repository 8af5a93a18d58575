"""Rules of label columns: which columns are labels, what their cells say, and what a stranger may write there."""

import time

import pandas as pd
import pytest

from pipelines.datasets.grades import GRADES_MAX, UNKNOWN, is_label, read_labels
from pipelines.errors import InvalidInput


@pytest.mark.parametrize(
    ("header", "cells", "found"),
    [
        ("pump", ["0", "1", "0"], True),
        ("насос", ["0", "1", ""], True),
        ("Ventil", ["gut", "undicht", "gut"], True),
        ("valve", ["ok", "stuck", "worn"], True),
        ("cooler", ["0", "0", "0"], False),  # nothing is wrong in it
        ("pump running", ["0", "1", "0"], False),
        ("mode", ["normal", "fast", "slow"], False),
        ("shift", ["A", "B", "C"], False),
        ("machine", ["0", "1", "0"], False),
        ("pressure", ["0", "1", "0"], False),
        ("grade", ["0", "1", "2"], False),  # people have to say so
        ("level", ["0.5", "0", "1"], False),
        ("remark", [f"seen {n}" for n in range(20)], False),
        ("\x07bell", ["0", "1", "0"], False),
    ],
)
def test_what_looks_like_a_label(header: str, cells: list[str], found: bool) -> None:
    """0 and 1, or words of which one says that all is well; no state, no machine, no channel, no remark."""
    assert is_label(header, pd.Series(cells, dtype=object), {"pressure"}) is found


def test_grades_are_read() -> None:
    """The nominal grade comes first and keeps its word; an empty cell says nothing."""
    valve = read_labels("valve", ["worn", "OK", "", "broken", "ok"])
    assert (valve.component, valve.grades, valve.codes.tolist()) == (
        "valve",
        ("OK", "broken", "worn"),
        [2, 0, -1, 1, 0],
    )
    pump = read_labels(" pump ", ["0", "1.0", "2,0", float("nan"), True, "да"])
    assert (pump.component, pump.grades, pump.codes.tolist()) == ("pump", (0, 1, 2), [0, 1, 2, UNKNOWN, 1, 1])
    assert read_labels("pump", ["0", "2", "worn"]).grades == ("0", "2", "worn")
    whole = read_labels("fault", ["0", "1", "0"])
    assert (whole.component, whole.codes.tolist()) == ("", [0, 1, 0])
    named = read_labels("fault", ["none", "leak", "wear"])
    assert (named.component, named.grades) == ("fault", ("none", "leak", "wear"))
    assert read_labels("anomaly", ["none", "leak", "wear"]).codes.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("header", "cells", "rule"),
    [
        ("pump", [str(n) for n in range(GRADES_MAX + 1)], f"at most {GRADES_MAX} grades"),
        ("pump", ["1", "2"], "must hold 0 or a word"),
        ("pump", ["0", "0.5"], "whole number"),
        ("pump", ["0", "a\x00b"], "word"),
        ("pump", ["0", "w" * 65], "word"),
        ("<script>", ["0", "1"], "letter or a digit"),
        ("a/../b" * 20, ["0", "1"], "letter or a digit"),
    ],
)
def test_what_breaks_a_rule_is_named(header: str, cells: list[str], rule: str) -> None:
    """Too many grades, none that is nominal, numbers between grades, and what cannot be shown."""
    with pytest.raises(InvalidInput, match=rule) as caught:
        read_labels(header, cells)
    assert len(str(caught.value)) < 400


def test_ten_thousand_grades_cost_little() -> None:
    """A column with as many words as rows is told from its first cells, and refused by name where it is insisted on."""
    cells = pd.Series([f"grade {n}" for n in range(200_000)], dtype=object)
    begun = time.process_time()
    assert not is_label("pump", cells, ())
    looked = time.process_time() - begun
    begun = time.process_time()
    with pytest.raises(InvalidInput, match="200000 different cells"):
        read_labels("pump", cells.tolist())
    assert looked < 0.2 * (time.process_time() - begun)
