"""Rules of bringing files as people have them to a family's recordings."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.datasets.exports import Source, opened, windows_in
from pipelines.datasets.mapping import Wanted
from pipelines.datasets.recordings import entities, read_recordings
from pipelines.errors import InvalidInput
from pipelines.machines.family import read_family
from pipelines.scoring.score import score
from pipelines.signals.windows import Window, mended
from tests.contract.examples import bundle, family
from tests.unit.test_tabular import CASES, needs_cases

GENERIC, LOOP = read_family("generic"), read_family("water-loop")
ORDERS = CASES.parent / "25-score-text-order"
NULLS = CASES.parent / "09-score-null-entity"
NOTHING = Wanted({})


def export(folder: Path, header: str, rows: int = 60, row: str = "{p:.2f};{t:.2f}", step: float = 1.0) -> Path:
    """Write an export with a moment, and `{p}` about 180 and `{t}` about 45 in each row."""
    path = folder / "Press 4.csv"
    begin = pd.Timestamp("2026-03-02 06:00")
    lines = [header]
    for n in range(rows):
        moment = begin + pd.Timedelta(seconds=n * step)
        lines.append(f"{moment:%Y-%m-%d %H:%M:%S.%f};" + row.format(n=n, p=180 + np.sin(n), t=45 + n / 100))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@contextmanager
def given(path: Path, wanted: Wanted = NOTHING) -> Iterator[tuple[pd.DataFrame, Source, list[str]]]:
    """Open a file for the family `generic`."""
    told: list[str] = []
    with opened(GENERIC, path, wanted, told.append) as source:
        yield pd.read_parquet(source.path), source, told


@needs_cases
@pytest.mark.parametrize(
    ("name", "wanted", "levels"),
    [
        ("press-eu", {}, {"pressure": 178, "temperature": 52.3, "flow": 63.1, "vibration": 2.35}),
        ("nasos-1251", {}, {"pressure": 124, "temperature": 44, "flow": 37.3, "vibration": 1.15}),
        ("excavator-us", {}, {"pressure": 238, "temperature": 70, "flow": 196}),
        (
            "historian-long",
            {"pressure": "PT101 [bar]", "flow": "HPU2.FT103.PV [l/min]", "temperature": "TT102 [°C]"},
            {"pressure": 182, "temperature": 52, "flow": 63},
        ),
    ],
)  # fmt: skip
def test_exports_of_four_machines(name: str, wanted: dict[str, str], levels: dict[str, float]) -> None:
    """Every channel comes in the family's unit, from the main circuit; bare tags are read as people say."""
    with given(CASES / f"{name}.csv", Wanted(wanted)) as (frame, source, _):
        assert (source.entity, source.order) == ("machine", "time")
        assert {channel for channel in GENERIC.channels if channel in frame} == set(levels)
        for channel, level in levels.items():
            assert frame[channel][:300].median() == pytest.approx(level, rel=0.02)


@needs_cases
def test_bare_tags_are_asked_about() -> None:
    """Nothing is guessed in silence: the error says what each may be, and how to say it."""
    with pytest.raises(InvalidInput) as caught, given(CASES / "historian-long.csv"):
        pass
    assert "'PT101': pressure?" in caught.value.rule
    assert "--channel pressure='PT101 [bar]'" in caught.value.rule


def test_an_export_is_scored(tmp_path: Path) -> None:
    """Each moment has its score beside machine and time."""
    path = export(tmp_path, "Time;Pump pressure [psi];Oil temperature [°F]", row="{p:.2f};{t:.2f}")
    members = {"adaptive": bundle("adaptive")}
    with opened(family(), path, NOTHING, lambda _: None) as source:
        rows = score(
            family(), source.path, tmp_path / "out.parquet", members, source.entity, source.order, 30, lambda *_: None
        )
    scores = pd.read_parquet(tmp_path / "out.parquet")
    assert rows == len(scores) == 60
    assert list(scores.columns[:3]) == ["machine", "time", "score"]
    assert set(scores["machine"]) == {"Press 4"}


def test_an_acceleration_is_no_velocity(tmp_path: Path) -> None:
    """What cannot be converted is named, and the other channels are read."""
    with given(export(tmp_path, "Time;Pressure [bar];Vibration [g]")) as (frame, _, told):
        assert "vibration" not in frame
    assert "  vibration: 'Vibration [g]' is in g, which cannot be converted to mm/s" in told


def test_a_unit_that_is_missing_is_assumed_and_said(tmp_path: Path) -> None:
    """Where the values are plausible; else the units that they would fit are asked for."""
    with given(export(tmp_path, "Time;Öldruck;Öltemperatur")) as (frame, _, told):
        assert frame["pressure"].median() == pytest.approx(180, abs=1)
    assert any("no unit is given, bar is assumed" in line for line in told)
    path = export(tmp_path, "Time;Öldruck;Öltemperatur", row="{p:.0f}0;{t:.2f}")
    with pytest.raises(InvalidInput, match="line 2, 'Öldruck', read as pressure") as caught, given(path):
        pass
    assert "between 0 and 700 bar: psi?" in caught.value.rule


def test_one_stray_value_is_left_out_and_told(tmp_path: Path) -> None:
    """A sensor's slip does not cost the file."""
    path = export(tmp_path, "Time;Pressure [bar];Oil temperature [°C]", rows=200)
    text = path.read_text(encoding="utf-8").splitlines()
    text[50] = text[50].split(";")[0] + ";3276.7;45"
    path.write_text("\n".join(text), encoding="utf-8")
    with given(path) as (frame, _, told):
        assert int(frame["pressure"].isna().sum()) == 1
    assert any("left out: 1 values of pressure" in line and "line 51" in line for line in told)


def test_two_pressures_are_asked_about_and_said(tmp_path: Path) -> None:
    """Neither is taken by chance; `--channel` decides; a case drain is not the pump's flow."""
    path = export(tmp_path, "Time;Pressure A [bar];Pressure B [bar]")
    with pytest.raises(InvalidInput, match="several columns"), given(path):
        pass
    with given(path, Wanted.of(["pressure=Pressure B [bar]"])) as (frame, _, _):
        assert frame["pressure"].median() == pytest.approx(45, abs=1)
    drained = export(tmp_path, "Time;Pump flow [l/min];Case drain [l/min]")
    with given(drained) as (frame, _, told):
        assert frame["flow"].median() == pytest.approx(180, abs=1)
    assert any("and not 'Case drain [l/min]'" in line for line in told)


def test_oil_that_comes_back_tells_the_temperature(tmp_path: Path) -> None:
    """Where there is no other; a room's temperature never does."""
    with given(export(tmp_path, "Time;Pressure [bar];Rücklauftemperatur [°C]")) as (frame, _, _):
        assert frame["temperature"].median() == pytest.approx(45.3, abs=0.1)
    with given(export(tmp_path, "Time;Pressure [bar];Ambient temperature [°C]")) as (frame, _, told):
        assert "temperature" not in frame
    assert any("'Ambient temperature [°C]'; say --channel" in line for line in told)


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["pressure"], "must be a channel and a column"),
        (["speed=Pressure A [bar]"], "must be one of pressure, temperature, flow, vibration"),
        (["pressure=Pressure C"], "must be a column of numbers; there are 'Pressure A [bar]'"),
        (["pressure=Pressure A [furlong]"], "must have a unit that is known"),
        (["pressure=Pressure A [rpm]"], "cannot be converted to bar"),
    ],
)
def test_what_people_say_of_columns_is_checked(tmp_path: Path, words: list[str], rule: str) -> None:
    """It is named when it is not there, or in a unit of something else."""
    with (
        pytest.raises(InvalidInput, match=re.escape(rule)),
        given(export(tmp_path, "Time;Pressure A [bar];Pressure B [bar]"), Wanted.of(words)),
    ):
        pass


def test_faster_readings_are_averaged(tmp_path: Path) -> None:
    """To the family's rate, labels are kept; and it is told."""
    path = export(tmp_path, "Time;Pressure [bar];anomaly", 100, "{n};{n}", 0.1)
    with given(path) as (frame, _, told):
        assert frame["pressure"].tolist() == [10 * n + 4.5 for n in range(10)]
        assert frame["anomaly"].tolist() == [10 * n + 9 for n in range(10)]
    assert any("averaged to 1 a second" in line for line in told)


def test_recordings_to_train_from(tmp_path: Path) -> None:
    """Samples become the windows of a family that has such, where their label is one; its own columns are by name."""
    path = export(tmp_path, "Time;Pressure [bar];Oil [°C];fault", 600, "{p:.2f};{t:.2f};healthy")
    with opened(GENERIC, path, NOTHING, lambda _: None, windows=True) as source:
        found = read_recordings(GENERIC, source.path, seed=3)
    assert len(set(found.groups)) == 1
    assert set(found.labels["fault"]) == {"healthy"}
    header = "datetime;Accelerometer1RMS;Pressure;Thermocouple;Volume Flow RateRMS;anomaly"
    loop = export(tmp_path, header, 600, "0.028;0.0{n:03d};25.{n:03d};32.{n:03d};0.0")
    with opened(LOOP, loop, NOTHING, lambda _: None, windows=True) as source:
        cut = read_recordings(LOOP, source.path, seed=3)
    assert set(cut.windows[0].values) == {"pressure", "temperature", "flow", "vibration"}


def test_parquet_of_the_family_is_read_as_it_is(tmp_path: Path) -> None:
    """Nothing is copied or told; a dry run says which columns are read."""
    path = tmp_path / "in.parquet"
    pd.DataFrame({"pressure": [[1.0, 2.0]], "PS2": [[1.0, 2.0]]}).to_parquet(path)
    told: list[str] = []
    with opened(GENERIC, path, NOTHING, told.append, "a", "b") as source:
        assert source == Source(path, "a", "b")
    assert told == []
    with opened(GENERIC, path, NOTHING, told.append, dry_run=True):
        assert "  pressure <- 'pressure', bar" in told


# --- rows without a recording or a place


@needs_cases
@pytest.mark.parametrize("name", ["null_entity", "nan_entity"])
def test_rows_without_a_recording_are_refused(name: str) -> None:
    """The first is named."""
    frame = pd.read_parquet(NULLS / f"{name}.parquet")
    with pytest.raises(InvalidInput, match=r"row\[\d+\]\.file: must name the recording of its row; 30 rows have none"):
        list(entities("file", "step", frame))


@needs_cases
def test_an_order_of_text_is_one_of_numbers() -> None:
    """`10` comes after `9`; a row without a place is refused."""
    frame = pd.read_parquet(ORDERS / "str_order.parquet")
    for _, places in entities("file", "step", frame):
        assert frame["step"].iloc[places].astype(int).is_monotonic_increasing
    with pytest.raises(InvalidInput, match=r"row\[\d+\]\.step: must give the row's place"):
        list(entities("file", "step", pd.read_parquet(ORDERS / "str_order_null.parquet")))


def test_an_order_of_words_is_refused() -> None:
    """Moments by ISO 8601 are an order, other words are none."""
    frame = pd.DataFrame({"file": "a", "step": ["2026-03-02T10:00:00", "2026-03-02T09:00:00"], "word": ["ten", "nine"]})
    assert [places.tolist() for _, places in entities("file", "step", frame)] == [[1, 0]]
    with pytest.raises(InvalidInput, match=r"row\[0\]\.word: must be a number or a moment"):
        list(entities("file", "word", frame))


def of_bar(seconds: int) -> bytes:
    """A file of a pump for some seconds."""
    rows = (f"2026-03-02T06:{n // 60:02d}:{n % 60:02d}Z,{100 + n % 7}" for n in range(seconds))
    return "\n".join(["time,pressure [bar]", *rows]).encode()


def test_windows_of_a_short_file_share_their_halves() -> None:
    """Six to nineteen windows become more; fewer stay as few as they are, and more lie one behind the other."""
    family, told = read_family("generic").model_copy(update={"window_s": 10.0}), list[str]()
    counts = [len(windows_in(family, of_bar(seconds), Wanted({}), told.append)) for seconds in (50, 60, 190, 200)]
    assert counts == [5, 11, 37, 20]
    assert [line for line in told if "half of the one before" in line] == [
        f"  {count} windows of 10 s, each with half of the one before it; 0 samples at ends and gaps fill none"
        for count in (11, 37)
    ]


def test_a_time_that_is_none_is_a_column_like_others() -> None:
    """Windows follow the order of the rows, and a span of time is refused where there is none."""
    family = read_family("generic").model_copy(update={"window_s": 10.0})
    text = of_bar(200).replace(b"2026", b"9999")
    assert len(windows_in(family, text, Wanted({}), lambda _: None)) == 20
    with pytest.raises(InvalidInput, match="from: must be left out: no column"):
        windows_in(family, text, Wanted({}), lambda _: None, pd.Timestamp("2026-03-02T06:00Z").to_pydatetime())


def test_a_large_file_is_taken_from_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more windows than a commissioning remembers, the first and the last among them."""
    monkeypatch.setattr("pipelines.datasets.exports.WINDOWS_MAX", 30)
    family, told = read_family("generic").model_copy(update={"window_s": 5.0}), list[str]()
    found = windows_in(family, of_bar(600), Wanted({}), told.append)
    assert len(found) == 30
    assert "30 of the windows" in told[-1]
    assert [found[0].values["pressure"][0], found[-1].values["pressure"][-1]] == [100.0, 100.0 + 599 % 7]


def test_a_window_is_mended_as_the_service_mends_it() -> None:
    """A channel that lacks few samples is whole, and says how many; one that lacks many is left as it is."""
    holes = np.array([1.0, np.nan, 3.0, 4.0, 5.0])
    window = Window({"few": holes, "many": np.where(holes > 3, np.nan, holes), "whole": np.arange(5.0)}, 1.0)
    found = mended(window, 0.2)
    assert (found.values["few"].tolist(), found.missing) == ([1, 2, 3, 4, 5], (("few", 1),))
    assert np.isnan(found.values["many"]).sum() == 3
    assert mended(found, 0.2) is found
