"""Rules of scoring a large source by Ray Data."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.datasets.simulator import HEALTHY, simulate
from pipelines.detectors.bundle import Bundle, pack, unpack
from pipelines.errors import InvalidInput
from pipelines.machines.family import read_family
from pipelines.scoring.batch import Packed, score_many
from pipelines.scoring.plan import SUCCESS, Options
from pipelines.scoring.score import score
from tests.service.scorer import packed, told

FAMILY = read_family("generic")
FAULTS = (HEALTHY, "pump_wear", "cavitation", HEALTHY, "valve_lag")
ROWS = 200  # windows of a part: small, so that a run has many


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Bundle]) -> Path:
    """The files of each detector, as the registry has them."""
    folder = tmp_path_factory.mktemp("members")
    for bundle in bundles.values():
        place = folder / bundle.card.detector
        place.mkdir()
        for name, content in pack(bundle).items():
            (place / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of windows: one row group for two workers, and small ones with rows of another length."""
    folder = tmp_path_factory.mktemp("windows")
    large, small = noisy(3_200, 60), noisy(400, 60)
    small[3] = small[3] | {"flow": None, "pressure": [100.0, 101.0, 100.5], "temperature": [45.0] * 3}
    small[3]["vibration"] = [0.5] * 3
    pq.write_table(pa.Table.from_pylist(large), folder / "large.parquet")
    pq.write_table(pa.Table.from_pylist(small), folder / "small.parquet", row_group_size=130)
    return folder


def noisy(rows: int, samples: int) -> list[dict[str, object]]:
    """Return simulated windows over and over, each with noise of its own; the key is missing here and there."""
    random = np.random.default_rng(rows)
    known = [simulate(fault, 0.7, samples, seed) for seed, fault in enumerate(FAULTS * 4)]
    found: list[dict[str, object]] = []
    for row in range(rows):
        values = known[row % len(known)].values
        noise = 1 + 0.002 * random.standard_normal(samples)
        found.append({"id": row if row % 7 else None, **{name: v * noise for name, v in values.items()}})
    return found


@pytest.fixture(scope="module")
def whole(members: Path, windows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of a run that nobody disturbed."""
    target = tmp_path_factory.mktemp("whole") / "scores"
    run(members, windows, target)
    return target


def run(members: Path, source: Path, target: Path) -> None:
    """Score to the end in a process of its own."""
    command = [sys.executable, "-m", "tests.service.scorer", *map(str, (members, source, target, ROWS, "full"))]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def parts(target: Path) -> dict[str, bytes]:
    """Return the content of each part."""
    return {path.name: path.read_bytes() for path in sorted(target.glob("part-*.parquet"))}


def in_process(members: Path, source: Path, target: Path, entity: str = "", order: str = "") -> pd.DataFrame:
    """Score one file as `hdx score` does without workers."""
    loaded = {name: unpack(member.files) for name, member in packed(members).items()}
    score(FAMILY, source, target, loaded, entity, order, 50, lambda *_: None, "full")
    return pd.read_parquet(target)


def test_windows_score_the_same_by_either_way(members: Path, windows: Path, whole: Path, tmp_path: Path) -> None:
    """By Ray Data every column of every row is what one process gives, in the same order."""
    alone = [in_process(members, path, tmp_path / path.name) for path in sorted(windows.iterdir())]
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), pd.read_parquet(whole), check_exact=True)
    assert (whole / SUCCESS).exists()


def test_samples_score_the_same_by_either_way(members: Path, tmp_path: Path) -> None:
    """Whole recordings are scored as by one process, wherever in the file their samples stand."""
    recordings = [
        pd.DataFrame({**simulate(fault, 0.6, 150, seed).values, "file": f"r{9 - seed}", "step": range(150)})
        for seed, fault in enumerate(FAULTS)
    ]
    source, target = tmp_path / "in.parquet", tmp_path / "scores"
    mixed = pd.concat(recordings).sample(frac=1, random_state=1)
    mixed.to_parquet(source, row_group_size=100, index=False)
    alone = in_process(members, source, tmp_path / "out.parquet", "file", "step")
    options = Options("file", "step", 50, "full", 200)
    assert score_many(FAMILY, source, target, packed(members), options, 2, told) == len(mixed)
    pd.testing.assert_frame_equal(alone, pd.read_parquet(target), check_exact=True)
    assert len(parts(target)) == 3


def test_a_killed_run_goes_on_where_it_stopped(members: Path, windows: Path, whole: Path, tmp_path: Path) -> None:
    """Run again, it writes the missing parts alone, and the whole is bit for bit that of a run left alone."""
    target = tmp_path / "scores"
    command = [sys.executable, "-m", "tests.service.scorer", *map(str, (members, windows, target, ROWS, "full"))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        started = psutil.Process(process.pid)
        while len(parts(target)) < 3:
            assert process.poll() is None
            time.sleep(0.02)
        family = started.children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
    _, left = psutil.wait_procs(family, timeout=10)  # workers end with their driver, two of Ray's own helpers do not
    for each in left:
        each.kill()
    before = {path: path.stat().st_mtime_ns for path in target.glob("part-*.parquet")}
    assert 0 < len(before) < len(parts(whole))
    assert not (target / SUCCESS).exists()
    run(members, windows, target)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert parts(target) == parts(whole)
    assert (target / SUCCESS).exists()
    assert not list(target.glob(".*"))


def test_a_finished_run_is_not_repeated(members: Path, windows: Path, whole: Path) -> None:
    """Run again, it reads the plan alone; with another version of a member it is refused."""
    options = Options("", "", 0, "full", ROWS)
    seen: list[tuple[int, int]] = []
    before = {path: path.stat().st_mtime_ns for path in whole.glob("part-*.parquet")}
    known = packed(members)
    assert score_many(FAMILY, windows, whole, known, options, 2, lambda *now: seen.append(now)) == 3_600
    assert seen == [(3_600, 3_600)]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    newer = {**known, "adaptive": Packed("2", known["adaptive"].files)}
    with pytest.raises(InvalidInput, match=r"other members \(adaptive\)"):
        score_many(FAMILY, windows, whole, newer, options, 2, told)


def test_a_bad_value_is_named_by_file_and_row(members: Path, tmp_path: Path) -> None:
    """What breaks a rule stops the run with its file, row and channel, as one process would; other parts stay."""
    rows = noisy(500, 5)
    rows[450]["pressure"] = [1.0, 9e9, 3.0, 1.0, 1.0]
    source, target = tmp_path / "in.parquet", tmp_path / "scores"
    pq.write_table(pa.Table.from_pylist(rows), source)
    options = Options("", "", 0, "score", ROWS)
    with pytest.raises(InvalidInput, match=r"in\.parquet: row\[450\]\.pressure\[1\].*700 bar"):
        score_many(FAMILY, source, target, packed(members), options, 1, told)
    assert len(parts(target)) == 2
    assert not (target / SUCCESS).exists()


# Source: own choice; from 40,000 to 200,000 windows a worker grew by 20 MB. From 24,000 to 120,000 its share of the
# samples grows by 93 MB.
GROWTH_BYTES = 60_000_000


def test_memory_does_not_grow_with_the_input(members: Path, tmp_path: Path) -> None:
    """Five times the input, 230 MB in one row group, makes no process of a run take more memory."""
    peaks = []
    for rows in (24_000, 120_000):
        source, target = tmp_path / f"{rows}.parquet", tmp_path / f"{rows}"
        write_large(source, rows)
        peaks.append(peak_of(members, source, target))
        assert sum(pq.read_metadata(path).num_rows for path in target.glob("part-*")) == rows
    assert source.stat().st_size > 3 * GROWTH_BYTES
    assert peaks[1] < peaks[0] + GROWTH_BYTES


def write_large(path: Path, rows: int) -> None:
    """Write simulated windows over and over with noise, as one row group without compression."""
    random = np.random.default_rng(1)
    known = [simulate(fault, 0.7, 60, seed).values for seed, fault in enumerate(FAULTS)]
    offsets = pa.array(np.arange(0, 60 * rows + 1, 60, dtype=np.int32))
    columns = {}
    for name in known[0]:
        base = np.stack([window[name] for window in known])[np.arange(rows) % len(known)]
        values = base * (1 + 0.002 * random.standard_normal(base.shape))
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
    pq.write_table(pa.table(columns), path, row_group_size=rows, compression="NONE")


def peak_of(members: Path, source: Path, target: Path) -> int:
    """Return the most memory that any one process of a run held of its own."""
    command = [sys.executable, "-m", "tests.service.scorer", *map(str, (members, source, target, 16_384, "score"))]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        started = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, *(own_memory(each) for each in [started, *started.children(recursive=True)]))
            time.sleep(0.1)
    assert process.returncode == 0
    return peak


def own_memory(process: psutil.Process) -> int:
    """Return the bytes that one process holds and shares with none; 0 when it is gone."""
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - memory.shared)
