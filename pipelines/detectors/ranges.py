"""Says in which range of its columns a trained member knows enough to vote, and which windows lie outside of it."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Examples, FeatureTable
from pipelines.signals.features import channels_of
from pipelines.signals.reading import feature_of
from pipelines.signals.windows import Floats

RANGE_QUANTILES = (0.001, 0.999)
RANGE_MARGIN = 0.25
# Share of one channel's columns that may lie outside the range before a member abstains.
# Source: water loop with the flow regime of `other` left out: a third of the flow's columns, its levels, lie outside.
OUTSIDE_SHARE = 0.25

Range = tuple[tuple[float | None, ...], tuple[float | None, ...]]


def outside_range(table: FeatureTable, low: Sequence[float | None], high: Sequence[float | None]) -> NDArray[np.bool_]:
    """Tell which windows lie outside the known range by too many of any one channel's columns.

    Shapes: `bool[N]`.
    """
    first, last = (np.array(side, dtype=np.float64) for side in (low, high))
    known = ~np.isnan(table.read)
    # A column without a range was never seen; comparisons with NaN say no.
    strange = known & ~((table.read >= first) & (table.read <= last))
    uses = _uses(table.columns)
    outside: NDArray[np.bool_] = np.any(strange @ uses > OUTSIDE_SHARE * np.maximum(known @ uses, 1.0), axis=1)
    return outside


@cache
def _uses(columns: tuple[str, ...]) -> Floats:
    """Return which channel each column is of; a cross feature is of none.

    Shapes: `float64[R, C]`.
    """
    parts = [channels_of(feature_of(column)) for column in columns]
    channels = sorted({part[0] for part in parts if len(part) == 1})
    return np.array([[float(part == (channel,)) for channel in channels] for part in parts])


def known_range(examples: Examples) -> Range:
    """Return where each column's known range begins and ends: the outer quantiles over the anomalous windows, widened.

    Only where a member has seen faults can its silence about faults be believed: a regime that was always
    healthy in training is no more known than one never seen. Where all examples are of one's own machines the healthy
    ones count, too: faults there are few and lie to one side.
    """
    low: list[float | None] = []
    high: list[float | None] = []
    seen_faults = examples.anomaly if examples.anomaly.any() else ~examples.anomaly
    seen_faults = seen_faults | examples.whole
    for column in examples.table.read[seen_faults].T:
        seen = column[np.isfinite(column)]
        if not len(seen):
            low.append(None)
            high.append(None)
            continue
        first, last = (float(edge) for edge in np.quantile(seen, RANGE_QUANTILES))
        # A feature that never varied in training still has a rounding error.
        margin = max(RANGE_MARGIN * (last - first), 1e-6 * max(abs(first), abs(last), 1.0))
        low.append(first - margin)
        high.append(last + margin)
    return tuple(low), tuple(high)
