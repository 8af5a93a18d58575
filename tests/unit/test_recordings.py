"""Rules of reading recordings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.datasets.recordings import (
    REPEATS,
    SETTLE,
    cut_cycles,
    cut_recordings,
    read_recordings,
    source_columns,
    trailing,
)
from pipelines.errors import InvalidInput, NotFound
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import read_family
from pipelines.signals.features import feature_names
from pipelines.training import evaluate
from pipelines.training.train import examples_of

RIG, LOOP = read_family("rig"), read_family("water-loop")


def cycles(rows: int = 4) -> pd.DataFrame:
    """Return load cycles that count their samples."""
    columns = {c: [np.arange(60.0) + row for row in range(rows)] for c in ("PS1", "TS1", "FS1", "VS1")}
    labels = {"cooler": [100] * rows, "valve": [100] * rows, "pump_leakage": [0] * rows}
    return pd.DataFrame({**columns, **labels, "block": [f"b{row % 2}" for row in range(rows)], "cycle": range(rows)})


def loop(samples: int = SETTLE + 60) -> pd.DataFrame:
    """Return one recording of the water loop."""
    random = np.random.default_rng(1)
    columns = {channel.column: random.normal(10, 1, samples) for channel in LOOP.channels.values()}
    return pd.DataFrame({**columns, "file_id": "a/1", "step": range(samples), "anomaly": 0})


def test_cycles_are_cut_at_any_phase() -> None:
    """Every cut of every length is a stretch of the repeating cycle, begun anywhere."""
    windows, _, rows = cut_cycles(RIG, cycles(), seed=2)
    assert [windows[i].samples for i in range(0, len(windows), 4)] == [60, 60, 20, 20, 5, 5, *[5] * REPEATS]
    for window, row in zip(windows, rows, strict=True):
        steps = np.diff(window.values["pressure"])
        assert set(steps.tolist()) <= {1.0, -59.0}
        assert window.values["pressure"].min() >= row
    assert any((np.diff(window.values["pressure"]) < 0).any() for window in windows[:4])


def test_what_was_drawn_to_fit_on_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further draws come last, other than those before them, and an evaluation leaves them out."""
    cycles(8).to_parquet(tmp_path / "cycles.parquet")
    recordings = read_recordings(RIG, tmp_path, seed=2)
    assert recordings.repeats == 8 * REPEATS
    assert len(recordings.windows) == 8 * (6 + REPEATS)
    monkeypatch.setattr(evaluate, "judged", lambda *_: [])
    rows = np.arange(len(recordings.windows))
    judged = evaluate._judge_windows(RIG, recordings, examples_of(recordings, RIG), rows, {}, RIG.required)
    assert len(judged.anomaly) == 8 * 6


def test_trailing_windows_never_look_ahead() -> None:
    """Changing later samples changes no window that ended before them."""
    frame = loop()
    before, baselines, rows = cut_recordings(LOOP, frame)
    changed = frame.copy()
    changed.loc[SETTLE + 30 :, "FlowRateRMS"] = 99.0
    after, others, _ = cut_recordings(LOOP, changed)
    for window, again, row in zip(before, after, rows, strict=True):
        same = (window.values["flow"] == again.values["flow"]).all()
        assert same == (row < SETTLE + 30)
    assert baselines[1] is not None
    assert others[1] is not None
    assert baselines[1].to_bytes() == others[1].to_bytes()


def test_a_missing_channel_is_no_error() -> None:
    """Columns may be named as channels or as recorded, and some may be missing; none at all is an error."""
    frame = pd.DataFrame({"pressure": [1.0], "FS1": [2.0]})
    assert source_columns(RIG, frame) == {"pressure": "pressure", "flow": "FS1"}
    with pytest.raises(InvalidInput, match="PS1 or pressure"):
        source_columns(RIG, frame.drop(columns=["pressure", "FS1"]))


def test_only_healthy_windows_move_a_baseline() -> None:
    """A recording's baseline follows its healthy windows and stands still while a fault is on."""
    frame = loop()
    frame["FlowRateRMS"] = np.linspace(10, 30, len(frame))
    _, moving, _ = cut_recordings(LOOP, frame)
    _, frozen, _ = cut_recordings(LOOP, frame.assign(anomaly=1))
    place = feature_names(LOOP).index("flow_mean")

    def level(baselines: Sequence[Normal | None], row: int) -> float:
        found = baselines[row]
        assert found is not None
        sums = found.points[0].baseline
        return float(sums.total[place] / sums.count[place])

    assert level(moving, 11) > level(moving, 1)
    assert level(frozen, 11) == level(frozen, 1)


def test_a_recording_that_has_just_begun_gives_a_shorter_window() -> None:
    """The window never reaches before the first sample."""
    values = {"flow": np.arange(10.0)}
    assert trailing(values, 2, 5, 1.0).values["flow"].tolist() == [0, 1, 2]
    assert trailing(values, 9, 5, 1.0).values["flow"].tolist() == [5, 6, 7, 8, 9]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """Recordings without a label or a group column are refused by that column's name."""
    path = tmp_path / "cycles.parquet"
    cycles().drop(columns="valve").to_parquet(path)
    with pytest.raises(InvalidInput, match="valve"):
        read_recordings(RIG, path, 1)
    with pytest.raises(NotFound):
        read_recordings(RIG, tmp_path / "nowhere", 1)
    cycles().to_parquet(path)
    found = read_recordings(RIG, tmp_path, 1)
    assert set(found.groups) == {"b0", "b1"}
    assert len(found.windows) == len(found.groups) == len(found.labels["valve"]) == 4 * (6 + REPEATS)
