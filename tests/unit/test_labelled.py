"""Rules of labelled windows of a machine kind that people defined: what is cut, commissioned, split and refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.datasets.feedback import Remark
from pipelines.datasets.grades import LABELS_MAX
from pipelines.datasets.labelled import Labelled, grouped, read_labelled
from pipelines.datasets.mapping import Wanted
from pipelines.errors import InvalidInput
from pipelines.knowledge.answer.faults import repair_question
from pipelines.machines.definition import family_of
from pipelines.machines.labelling import labels_of, reading_digest, with_labels
from pipelines.signals.windows import to_store
from pipelines.training.labelled_family import LEAST_COMPONENT, LEAST_EACH, prepare
from pipelines.training.train import examples_of, folds
from tests.unit.labelled_files import DEFINITION, PRESS, SECONDS, write_presses
from tests.unit.workbooks import rows_xml, workbook

NOTHING = Wanted({})


def read(path: Path, *named: str, wanted: Wanted = NOTHING) -> tuple[Labelled, list[str]]:
    told: list[str] = []
    return read_labelled(PRESS, path, wanted, named, told.append), told


def test_a_file_becomes_labelled_windows(tmp_path: Path) -> None:
    """Each machine is commissioned by its first windows that are well; the others are learned with their labels."""
    (recordings, grades), told = read(write_presses(tmp_path / "presses.csv"))
    assert grades == {"pump": (0, 1), "valve": ("ok", "stuck")}
    assert len(recordings.windows) == 4 * (58 - 20)
    assert {window.samples for window in recordings.windows} == {SECONDS}
    assert set(recordings.groups) == {f"press {n}" for n in range(1, 5)}
    assert recordings.labels["anomaly"].sum() == 4 * 16
    assert (recordings.labels["pump"] == 1).sum() == (recordings.labels["valve"] == "stuck").sum() == 4 * 8
    assert all(normal is not None for normal in recordings.baselines)
    text = "\n".join(told)
    assert "pressure <- 'pressure [bar]'" in text
    assert "label pump: 0, 1" in text
    assert "press 2: 20 windows that are well say what is normal for it, 38 are learned" in text


def test_a_time_that_is_none_leaves_the_order(tmp_path: Path) -> None:
    """Where no moment can be read of the column `time`, windows follow the order of the rows."""
    path = write_presses(tmp_path / "presses.csv")
    path.write_text(path.read_text(encoding="utf-8").replace(";2026-", ";9999-"), encoding="utf-8")
    (recordings, _), _ = read(path)
    assert len(recordings.windows) == 4 * (58 - 20)


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
def test_tables_with_numbers_are_read_alike(tmp_path: Path, suffix: str) -> None:
    """Whole numbers, truths and words of a Parquet file or a workbook say the same as those of a text."""
    text = write_presses(tmp_path / "presses.csv", machines=1)
    frame = pd.read_csv(text, sep=";").assign(pump=lambda table: table["pump"] == 1)
    path = tmp_path / f"presses{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        rows = [list(frame.columns), *frame.astype({"pump": int}).to_numpy().tolist()]
        path.write_bytes(workbook({"log": rows_xml(rows)}))
    (same, grades), (first, _) = read(path)[0], read(text)[0]
    assert grades == {"pump": (0, 1), "valve": ("ok", "stuck")}
    for name in ("pump", "valve", "anomaly"):
        assert same.labels[name].tolist() == first.labels[name].tolist()


def test_people_may_name_the_labels(tmp_path: Path) -> None:
    """Only what is named counts; what is not there is named with what is."""
    path = write_presses(tmp_path / "presses.csv")
    labelled, _ = read(path, "valve")
    assert set(labelled.grades) == {"valve"}
    with pytest.raises(InvalidInput, match=r"must be a column of the file.*valve") as caught:
        read(path, "cooler")
    assert (caught.value.field, caught.value.value) == ("label", "cooler")
    assert read(path, "valve")[0].recordings.fingerprint != read(path)[0].recordings.fingerprint


def test_a_window_with_two_labels_is_left_out(tmp_path: Path) -> None:
    """A fault that begins within a window makes it neither, and that is told."""
    path = write_presses(tmp_path / "presses.csv", machines=1)
    lines = path.read_text(encoding="utf-8").splitlines()
    del lines[1 : 1 + SECONDS // 2]
    path.write_text("\n".join(lines), encoding="utf-8")
    (recordings, _), told = read(path)
    assert any("left out: 3 windows with more than one label" in line for line in told)
    assert len(recordings.windows) == 57 - 20 - 3


def test_no_labels_no_training(tmp_path: Path) -> None:
    """A file without labels says what is asked of it; too many columns are refused."""
    path = write_presses(tmp_path / "presses.csv", course=(("", 30),))
    with pytest.raises(InvalidInput, match=r"must hold a column of labels.*--label"):
        read(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    many = [";".join(f"part {n}" for n in range(LABELS_MAX + 1))] + [
        ";".join("01"[row % 2] for _ in range(LABELS_MAX + 1)) for row in range(len(lines) - 1)
    ]
    path.write_text("\n".join(f"{line};{more}" for line, more in zip(lines, many, strict=True)), encoding="utf-8")
    with pytest.raises(InvalidInput, match=f"at most {LABELS_MAX} columns"):
        read(path)


def test_too_few_labels_say_how_many_are_needed(tmp_path: Path) -> None:
    """Fewer than ten windows of a kind are refused by number; a component that few show is not named."""
    few = write_presses(tmp_path / "few.csv", machines=1, course=(("", 34), ("pump", 4)))
    with pytest.raises(InvalidInput, match=f"at least {LEAST_EACH} anomalous windows of 20 s") as caught:
        prepare(PRESS, read(few, "pump")[0], [], lambda _: None)
    assert caught.value.value == 4
    told: list[str] = []
    course = (("", 34), ("pump", 12), ("", 4), ("valve", LEAST_COMPONENT - 1))
    some = write_presses(tmp_path / "some.csv", machines=1, course=course)
    prepared = prepare(PRESS, read(some)[0], [], told.append)
    assert list(prepared.family.components) == ["pump"]
    assert f"not named: valve: {LEAST_COMPONENT - 1} windows show it" in "\n".join(told)
    examples = examples_of(prepared.recordings, prepared.family)
    assert examples.anomaly.sum() == 12 + LEAST_COMPONENT - 1
    assert np.bincount(examples.heads["label-0"] + 1).tolist() == [0, 23, 12]


def test_machines_are_left_out_whole_or_else_time() -> None:
    """With anomalies of two machines no split cuts through one; of one alone, stretches of time stay together."""
    machines = np.repeat(["a", "b", "c"], 8)
    wrong = np.tile([False] * 4 + [True] * 4, 3)
    assert grouped(machines, wrong).tolist() == machines.tolist()
    alone = grouped(machines[:8], np.array([False] * 4 + [True] * 4))
    assert alone.tolist() == [f"a, stretch {n}" for n in range(1, 9)]
    long = grouped(np.repeat(["a"], 24), np.arange(24) >= 12)
    runs = [len(list(part)) for part in np.split(np.arange(24), np.flatnonzero(long[1:] != long[:-1]) + 1)]
    assert runs == [3] * 8
    for fit_rows, left_out in folds(long, 4, np.arange(24) >= 12):
        assert not set(long[fit_rows]) & set(long[left_out])
        assert 0 < (fit_rows >= 12).sum() < len(fit_rows)


def test_every_fit_sees_both_kinds() -> None:
    """Where two machines alone have anomalies they go to different parts; where one has, it is refused."""
    groups = np.repeat([f"m{n}" for n in range(8)], [40, 40, 1, 1, 1, 1, 1, 1])
    anomaly = np.isin(groups, ["m0", "m1"])
    for fit_rows, _ in folds(groups, 4, anomaly):
        assert anomaly[fit_rows].any()
        assert not anomaly[fit_rows].all()
    with pytest.raises(InvalidInput, match="both normal and anomalous"):
        folds(groups, 4, groups == "m0")


def test_feedback_names_components_as_people_say(tmp_path: Path) -> None:
    """Words of feedback join the file's, or stand alone; what people call a part is one."""
    (recordings, grades), _ = read(write_presses(tmp_path / "presses.csv"))
    pairs = list(zip(recordings.windows, recordings.baselines, recordings.labels["anomaly"], strict=True))
    remarks = [
        Remark(
            f"1/{number % 2}",
            to_store(window),
            normal.to_bytes() if normal else None,
            bool(wrong),
            "Уплотнение" if wrong else None,
        )
        for number, (window, normal, wrong) in enumerate(pairs)
    ]
    both = prepare(PRESS, Labelled(recordings, grades), remarks, lambda _: None)
    assert list(both.family.components) == ["pump", "valve", "Уплотнение"]
    assert set(both.recordings.labels["Уплотнение"].tolist()) == {0, None}
    alone = prepare(PRESS, None, remarks, lambda _: None)
    assert list(alone.family.components) == ["Уплотнение"]
    assert len(alone.recordings.windows) == 0
    bad = [remark._replace(component="\x00" if remark.anomalous else None) for remark in remarks]
    assert list(prepare(PRESS, None, bad, lambda _: None).family.components) == []


def test_a_family_is_read_as_before_or_not() -> None:
    """Title and severity change nothing; a unit, a channel or the window's length do."""
    same = DEFINITION.replace('"Press"', '"Deep drawing"')
    assert same != DEFINITION
    assert reading_digest(family_of("press", same)) == reading_digest(PRESS)
    for before, after in (('"A"', '"rpm"'), ("motor current", "current"), ('"window_s":20.0', '"window_s":40.0')):
        other = DEFINITION.replace(before, after)
        assert other != DEFINITION
        assert reading_digest(family_of("press", other)) != reading_digest(PRESS)


def test_components_stand_in_no_file_name() -> None:
    """What people call a part is shown and never a path; the family keeps its key."""
    named = with_labels(PRESS, labels_of({"pump/../x": (0, 1), "Насос": (0, "worn")}))
    assert set(named.heads) == {"label-0", "label-1"}
    assert named.components["Насос"].kinds == {"worn": "Насос: worn"}
    assert named.key == PRESS.key


def test_a_repair_is_asked_for_in_peoples_own_words() -> None:
    """A component that a label has named has no title in two languages: it stands in the question as it is called."""

    def found(component: str, grade: int | str) -> dict[str, Any]:
        parts = [{"component": component, "probability": 0.9, "grade": grade}]
        prediction = {"affected_components": [component], "components": parts, "anomaly_type": component}
        return {"prediction": prediction, "attribution": []}

    assert repair_question(found("Насос 1", 1), PRESS, "ru") == "Как устранить неисправность (Насос 1)?"
    assert repair_question(found("valve", "stuck"), PRESS, "en") == "How to fix a fault (valve, stuck)?"
