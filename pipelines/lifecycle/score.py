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
from pipelines.detectors.baseline import Baseline
from pipelines.detectors.bundle import Bundle
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.signals.channels import read_window
from pipelines.signals.reading import make_sheet
from pipelines.signals.windows import Floats, Window

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 4096  # windows in memory at once: some 20 MB of samples, features and votes
# Windows of one recording judged between two changes of its baseline. Source: a micro-batch of the service is as large;
# one window at a time gave the same figures at eight times the cost.
BLOCK = 20
UNDECIDED = 0.5  # the score that says nothing either way

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

    With `entity` each row is one sample, scored from the window that ends with it (see `follow`), so that no row looks
    ahead. Without it each row is one window.

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
        known = judged([Inspection(window, family.name) for window in windows], family, members)
        yield tabulated(family, part[keys], known)


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
    for _, places in entities(entity, order, frame):
        known = follow(family, series(family, frame, places), members, settle)
        yield tabulated(family, frame.iloc[places][keys], list(known))


def follow(
    family: Family, values: Mapping[str, Floats], members: Mapping[str, Bundle], settle: int
) -> Iterator[Diagnosis]:
    """Judge every sample of one recording by the window that ends with it, as a service that met them in order.

    The first `settle` samples are judged without a baseline, and give the first one; after them it learns as the
    service's does, from windows judged normal, a block of windows at a time.
    """
    rate = next(iter(family.channels.values())).rate_hz
    length = max(1, round(family.window_s * rate))
    total = len(next(iter(values.values())))
    settle = min(settle, total)
    baseline: Baseline | None = None
    alarm = False
    first = 0
    while first < total:
        if first == settle and settle:
            baseline = settled(values, rate, length, settle, family)
        last = min(first + BLOCK, settle if first < settle else total)
        windows = [trailing(values, place, length, rate) for place in range(first, last)]
        diagnoses = judged(
            [Inspection(window, family.name, baseline, alarm) for window in windows], family, members, True
        )
        yield from diagnoses
        if first >= settle:
            for diagnosis in diagnoses:
                if diagnosis.learned is not None:
                    baseline = diagnosis.learned if baseline is None else baseline + diagnosis.learned
        alarm = diagnoses[-1].is_anomaly
        first = last


def judged(
    inspections: Sequence[Inspection], family: Family, members: Mapping[str, Bundle], consecutive: bool = False
) -> list[Diagnosis]:
    """Judge inspections with given members, as the service does."""
    sheet = make_sheet([i.window for i in inspections], [i.baseline for i in inspections], family)
    votes = {name: bundle.votes(sheet) for name, bundle in members.items()}
    return judge(family, inspections, sheet, votes, {}, 1, consecutive)


def tabulated(family: Family, keys: "pd.DataFrame", known: Sequence[Diagnosis]) -> "pd.DataFrame":
    """Set the findings beside their keys; a window nobody can judge says why under `abstained`."""
    table = keys.reset_index(drop=True)
    # A table is ranked and averaged as a whole, so that a row without a number would be lost or break the sum.
    table["score"] = [UNDECIDED if diagnosis.abstained else diagnosis.score for diagnosis in known]
    table["pred"] = [int(diagnosis.is_anomaly) for diagnosis in known]
    table["severity"] = [diagnosis.severity for diagnosis in known]
    table["confidence"] = [diagnosis.confidence for diagnosis in known]
    table["abstained"] = [diagnosis.abstained for diagnosis in known]
    table["anomaly_type"] = [diagnosis.anomaly_type for diagnosis in known]
    for name in family.components:
        findings = [next((f for f in d.components if f.component == name), None) for d in known]
        if any(findings):
            table[f"p_{name}"] = [finding.probability if finding else np.nan for finding in findings]
            table[f"cls_{name}"] = [finding.grade if finding else None for finding in findings]
    return table
