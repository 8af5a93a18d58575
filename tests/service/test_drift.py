"""Rules of drift on whole machines: real changes of regime, simulated ones, and files of recordings."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmarks.drift import (
    DRIFT_AT,
    HEALTHY_WINDOWS,
    SPOILS,
    STRETCH,
    TUNING,
    Spoil,
    delays,
    drifted,
    healthy,
    numbered,
    stretch,
    wandering,
)
from pipelines.datasets.recordings import Recordings
from pipelines.datasets.simulator import Unit, draw_unit, simulate_recordings
from pipelines.detectors.members import registry
from pipelines.drift.charts import BLOCK
from pipelines.drift.monitor import KINDS
from pipelines.drift.report import History, Trace, follow_drift, render_drift, short, trace
from pipelines.errors import InvalidInput
from pipelines.machines.family import read_family
from pipelines.signals.windows import Window
from pipelines.training.train import examples_of, fit_member, load
from serve_app.cli.drift import drift_tables
from tests.serve.service import SHARED

GENERIC, LOOP = read_family("generic"), read_family("water-loop")
SYSTEMS = 30
ANYWHERE = 5 * BLOCK  # four blocks, and the one in which the change begins
RECORDINGS = pytest.mark.skipif(not (SHARED / "data").exists(), reason="the recordings (../shared/data) are not here")


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    return load(LOOP, SHARED / "data" / "skab", 3)


@RECORDINGS
@pytest.mark.parametrize("name", ["valve1/3", "valve1/9", "valve1/15", "valve2/1", "other/3", "other/4"])
def test_a_change_of_regime_is_found_within_sixty_windows(recordings: Recordings, name: str) -> None:
    """From 126 to 32 or 76 l/min: found in recordings other than the tuning ones, and never before."""
    assert name not in TUNING
    long = stretch(LOOP, recordings, "anomaly_free/anomaly-free")
    for at in (0, 640):
        begun = STRETCH - at // 640
        windows = [*long[at : at + begun], *stretch(LOOP, recordings, name)]
        (wait,), early = delays([follow_drift(LOOP, History("loop", windows, numbered(windows)), {})], begun)
        assert early == 0
        assert wait <= ANYWHERE


@RECORDINGS
def test_recordings_of_one_regime_are_no_drift(recordings: Recordings) -> None:
    """The healthy parts of the valve recordings of one day, other than the tuning ones, raise no alarm."""
    names = ["valve1/3", "valve1/5", "valve1/9", "valve1/11", "valve1/15", "valve2/0", "valve2/1", "valve2/3"]
    windows = [window for name in names for window in stretch(LOOP, recordings, name)]
    found = follow_drift(LOOP, History("loop", windows, numbered(windows)), {})
    assert found.states[-1].of("input").ready
    assert [found.first(kind) for kind in KINDS] == [None] * len(KINDS)


@pytest.mark.parametrize("make", [healthy, wandering])
def test_healthy_machines_raise_no_alarm(make: Callable[[Unit, int, np.random.Generator], list[Window]]) -> None:
    """Over 360 windows after the reference, at most three systems in a hundred; of thirty, one."""
    random = np.random.default_rng(23)
    found = 0
    for number in range(SYSTEMS):
        windows = make(draw_unit(random), HEALTHY_WINDOWS, random)
        traced = follow_drift(GENERIC, History(str(number), windows, numbered(windows)), {})
        found += traced.first("input") is not None
    assert found <= 1


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_drifting_sensor_is_found(spoil: Spoil) -> None:
    """An offset or a gain that creeps, and noise that grows: found in all machines within 300 windows, not before."""
    random = np.random.default_rng(29)
    traces = []
    for number in range(SYSTEMS):
        windows = drifted(draw_unit(random), spoil, random)
        traces.append(follow_drift(GENERIC, History(str(number), windows, numbered(windows)), {}))
    waits, early = delays(traces, DRIFT_AT)
    assert early == 0
    assert np.quantile(waits, 0.9) <= 300


def machines(path: Path) -> Path:
    """Write windows of two machines, of which one loses pressure, and of one too young to be known."""
    random = np.random.default_rng(31)
    rows = []
    for name, count in (("calm", 360), ("moved", 360), ("young", 20)):
        for number, window in enumerate(healthy(draw_unit(random), count, random)):
            values = {channel: list(samples) for channel, samples in window.values.items()}
            if name == "moved" and number >= 300:
                values["pressure"] = [0.9 * value for value in values["pressure"]]
            rows.append({"machine": name, "at": number, **values})
    pd.DataFrame(rows).sample(frac=1, random_state=1).to_parquet(path)
    return path


def shown(traces: list[Trace]) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(drift_tables(traces, "inputs"))
    return console.export_text()


def test_a_file_of_windows_names_who_has_drifted(tmp_path: Path) -> None:
    """The page and the table say which system, by which channel, and when; who is too young is said, too."""
    traces = trace(GENERIC, machines(tmp_path / "in.parquet"), {}, "machine", "at", 0, lambda *_: None)
    found = {traced.system: traced.first("input") for traced in traces}
    assert found["calm"] is None
    assert found["moved"] is not None
    moment, drift = found["moved"]
    assert (int(moment), drift.what, drift.since) == (347, "pressure level, down", 48)
    assert short(traces) == ["young"]
    page, table = render_drift(GENERIC, traces), shown(traces)
    for text in (page, table):
        assert "pressure level, down" in text
        assert "young" in text
    assert page.count("data:image/png;base64,") == 1
    assert "http" not in page


def test_members_judge_what_passes(tmp_path: Path) -> None:
    """With members the score and the system's own normal are followed as well."""
    examples = examples_of(simulate_recordings(GENERIC, 24, 12, 5), GENERIC)
    members = {"adaptive": fit_member(registry()["adaptive"], GENERIC, examples, 5, "test")}
    source = machines(tmp_path / "in.parquet")
    traces = {found.system: found for found in trace(GENERIC, source, members, "machine", "at", 0, lambda *_: None)}
    for name in ("calm", "moved"):
        assert all(traces[name].states[-1].of(kind).ready for kind in ("input", "score", "baseline"))
    assert traces["calm"].first("score") is None
    assert traces["moved"].first("score") is not None


def test_a_file_of_samples_is_cut_into_windows(tmp_path: Path) -> None:
    """One recording, a sample a row: windows overlap, and that alone is no drift; a level that moves is."""
    random = np.random.default_rng(37)
    count = 3000
    flow = 32 + random.normal(0, 0.2, count)
    frame = pd.DataFrame({"FlowRateRMS": flow, "Accelerometer1RMS": 0.03 + random.normal(0, 0.001, count)})
    source = tmp_path / "in.parquet"
    frame.to_parquet(source)
    (calm,) = trace(LOOP, source, {}, "", "", 400, lambda *_: None)
    assert calm.windows == (count - 400 - 60) // 5 + 1
    assert calm.first("input") is None
    frame.assign(FlowRateRMS=flow + 2 * (np.arange(count) > 2200)).to_parquet(source)
    (moved,) = trace(LOOP, source, {}, "", "", 400, lambda *_: None)
    assert moved.first("input") is not None
    with pytest.raises(InvalidInput, match="machine"):
        trace(LOOP, source, {}, "machine", "", 0, lambda *_: None)
