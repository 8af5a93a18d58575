"""Sets what was found of windows beside the keys of their rows, in columns whose types do not depend on it."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Detail, FeatureTable
from pipelines.diagnosis.attribution import attribute
from pipelines.diagnosis.components import AFFECTED, loudest
from pipelines.diagnosis.ensemble import Verdicts
from pipelines.diagnosis.situation import Situations
from pipelines.machines.family import Family

if TYPE_CHECKING:
    import pyarrow as pa

UNDECIDED = 0.5  # the score that says nothing either way


def tabulated(
    family: Family,
    keys: "pa.Table",
    table: FeatureTable,
    verdicts: Verdicts,
    detail: Detail,
    situation: Situations,
) -> "pa.Table":
    """Set the findings beside their keys; a window nobody can judge says why under `abstained`.

    Types do not depend on what is found, so that tables fit together in one file.
    """
    import pyarrow as pa

    scores = verdicts.tally.score
    unknown = np.isnan(scores).tolist()
    text = pa.large_string()
    columns = {
        # A table is ranked and averaged as a whole, so that a row without a number would be lost or break the sum.
        "score": pa.array(np.where(unknown, UNDECIDED, scores)),
        "pred": pa.array(verdicts.is_anomaly.astype(np.int64)),
        "severity": pa.array(verdicts.severities(family), text),
        "confidence": pa.array(verdicts.confidence),
        "abstained": pa.array([verdicts.silence(row) if silent else "" for row, silent in enumerate(unknown)], text),
        "anomaly_type": pa.array(_kinds(family, table, verdicts, detail, situation), text),
    }
    for name, part in verdicts.parts.items():
        classes = family.heads[family.components[name].head].classes
        graded = np.array(classes, dtype=object)[part.grade]
        graded[np.isnan(part.off)] = None
        columns[f"p_{name}"] = pa.array(part.off, from_pandas=True)
        columns[f"cls_{name}"] = pa.array(graded, text if isinstance(classes[0], str) else pa.int64())
    kept = {name: keys.column(name) for name in keys.column_names if name not in columns}
    return pa.table({**kept, **columns})


def _kinds(
    family: Family, table: FeatureTable, verdicts: Verdicts, detail: Detail, situation: Situations
) -> NDArray[np.object_]:
    """Return what each anomaly is called: by its rule where no head is sure, else by a component or loudest channel."""
    kinds = verdicts.kinds.copy()
    kinds[~verdicts.is_anomaly] = None
    if detail == "full":
        unnamed = np.array([kind is None for kind in kinds], dtype=np.bool_)
        alarms = np.flatnonzero(verdicts.is_anomaly & unnamed)
        shares = attribute(family, table.rows(alarms), verdicts.tally.contributions[alarms])
        kinds[alarms] = [loudest(share) for share in shares]
    off = np.stack([np.full(len(kinds), np.nan), *(part.off for part in verdicts.parts.values())])
    heads, sure = ~np.isnan(off).all(axis=0), (off >= AFFECTED).any(axis=0)
    for row in np.flatnonzero(verdicts.is_anomaly & ~sure).tolist():
        kinds[row] = situation.kind(row, bool(heads[row])) or kinds[row]
    return kinds
