"""Beside the request path: recordings scored offline with the very code that serves.

Exists so that what a file of recordings would have been answered can be known without a service.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.families import Family
from configs.settings import Limits
from pipelines.datasets.recordings import check_columns, entities, series, settled, source_columns, trailing
from pipelines.detectors.base import Baseline
from pipelines.detectors.bundle import Bundle
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.signals.channels import read_window
from pipelines.signals.features import make_sheet
from pipelines.signals.windows import Window

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 4096  # windows in memory at once: some 20 MB of samples, features and votes

Done = Callable[[int, int], None]


def score(
    family: Family,
    source: Path,
    target: Path,
    members: Mapping[str, Bundle],
    entity: str,
    order: str,
    settle: int,
    done: Done,
) -> int:
    """Score a Parquet file; return the number of rows written.

    With `entity` each row is one sample and is scored from the window that ends with it; the first `settle` samples of
    each recording give its baseline and are themselves scored without one, so that no row looks ahead. Without it each
    row is one window.

    Raises:
        InvalidInput: A column is missing or a value breaks a rule.
    """
    import pandas as pd

    frame = pd.read_parquet(source)
    if entity:
        check_columns(frame, [entity, *([order] if order else [])])
        tables = score_samples(family, frame, members, entity, order, settle)
    else:
        tables = score_windows(family, frame, members)
    parts = []
    rows = 0
    for table in tables:
        rows += len(table)
        parts.append(table)
        done(rows, len(frame))
    result = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    result.to_parquet(target, index=False)
    return rows


def score_windows(family: Family, frame: "pd.DataFrame", members: Mapping[str, Bundle]) -> Iterator["pd.DataFrame"]:
    """Score one row a window; every column that holds no list is kept as a key."""
    columns = source_columns(family, frame)
    keys = [name for name in frame.columns if name not in columns.values() and not holds_lists(frame[name])]
    rate = next(iter(family.channels.values())).rate_hz
    for first in range(0, len(frame), CHUNK):
        part = frame.iloc[first : first + CHUNK]
        windows = [
            row_window(family, row, columns, rate, first + place) for place, row in enumerate(rows_of(part, columns))
        ]
        yield table_of(family, part[keys], windows, [None] * len(windows), members)


def rows_of(part: "pd.DataFrame", columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield each row's samples by channel, leaving out channels it lacks."""
    held = {name: part[column].to_list() for name, column in columns.items()}
    for place in range(len(part)):
        yield {name: values[place] for name, values in held.items() if values[place] is not None}


def row_window(family: Family, row: Mapping[str, Any], columns: Mapping[str, str], rate: float, place: int) -> Window:
    """Check one row as the service checks a body."""
    plain = {name: np.asarray(values, dtype=np.float64).tolist() for name, values in row.items()}
    return read_window(plain, rate, family, Limits(), f"row[{place}]")


def holds_lists(column: "pd.Series[Any]") -> bool:
    """Tell whether a column holds arrays."""
    first = column.iloc[0] if len(column) else None
    return isinstance(first, list | np.ndarray)


def score_samples(
    family: Family, frame: "pd.DataFrame", members: Mapping[str, Bundle], entity: str, order: str, settle: int
) -> Iterator["pd.DataFrame"]:
    """Score one row a sample, recording by recording."""
    keys = [entity, *([order] if order else [])]
    rate = next(iter(family.channels.values())).rate_hz
    length = max(1, round(family.window_s * rate))
    for _, places in entities(entity, order, frame):
        values = series(family, frame, places)
        baseline = settled(values, rate, length, min(settle, len(places)), family) if settle else None
        for first in range(0, len(places), CHUNK):
            lasts = range(first, min(first + CHUNK, len(places)))
            windows = [trailing(values, last, length, rate) for last in lasts]
            known = [baseline if last >= settle else None for last in lasts]
            yield table_of(family, frame.iloc[places[first : first + CHUNK]][keys], windows, known, members)


def table_of(
    family: Family,
    keys: "pd.DataFrame",
    windows: Sequence[Window],
    baselines: Sequence[Baseline | None],
    members: Mapping[str, Bundle],
) -> "pd.DataFrame":
    """Judge windows and set the findings beside their keys; a window nobody can judge has no score."""
    sheet = make_sheet(windows, baselines, family)
    votes = {name: bundle.votes(sheet) for name, bundle in members.items()}
    inspections = [Inspection(w, family.name, b) for w, b in zip(windows, baselines, strict=True)]
    outcomes = judge(family, inspections, sheet, votes, {}, 1)
    table = keys.reset_index(drop=True)
    known = [outcome if isinstance(outcome, Diagnosis) else None for outcome in outcomes]
    table["score"] = [diagnosis.score if diagnosis else np.nan for diagnosis in known]
    table["pred"] = [int(diagnosis.is_anomaly) if diagnosis else 0 for diagnosis in known]
    table["confidence"] = [diagnosis.confidence if diagnosis else 0.0 for diagnosis in known]
    for name in family.components:
        findings = [next((f for f in d.components if f.component == name), None) if d else None for d in known]
        if any(findings):
            table[f"p_{name}"] = [finding.probability if finding else np.nan for finding in findings]
            table[f"cls_{name}"] = [finding.grade if finding else None for finding in findings]
    return table
