"""Beside the request path: two versions of a model side by side on windows that were answered before.

Exists so that a candidate meets yesterday's windows, and what people said of them, before it meets today's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.machines.baseline import Baseline
from pipelines.machines.family import read_family
from pipelines.promotion.gates import Evidence, compared, labelled
from pipelines.promotion.mlflow_client import Registry
from pipelines.promotion.model_loader import take
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Window


class StoredWindow(NamedTuple):
    """A stored window.

    Attributes:
        window: `{"values": {channel: [..]}, "rate_hz": ..}`.
        baseline: The system's normal that it met, as `Baseline.to_bytes` writes it; None where there was none.
        anomalous: What people said of it; None where nobody did.
    """

    window: Mapping[str, Any]
    baseline: bytes | None
    anomalous: bool | None


def window_of(stored: Mapping[str, Any]) -> Window:
    """Return a window as it was stored."""
    return Window({name: np.array(values) for name, values in stored["values"].items()}, stored["rate_hz"])


def run_backtest(
    registry: Registry, family: str, name: str, versions: tuple[str, str], stored: Sequence[StoredWindow]
) -> Evidence:
    """Return what a candidate does on stored windows beside the live version.

    Args:
        registry: Holds both.
        family: The windows'.
        name: The model's.
        versions: The live one and the candidate.
        stored: Windows.

    Raises:
        HdxError: A version cannot be had.
    """
    if not stored:
        return Evidence(family, versions[1])
    kind = read_family(family)
    baselines = [None if each.baseline is None else Baseline.from_bytes(each.baseline) for each in stored]
    table = make_feature_table([window_of(each.window) for each in stored], baselines, kind)
    live, found = (take(registry, name, version).votes(table, "score").anomaly for version in versions)
    known = np.array([each.anomalous is not None for each in stored])
    truth = np.array([each.anomalous is True for each in stored])
    # A candidate that mends what people complained of calls just these otherwise: they count by what is true alone.
    seen = compared(family, versions[1], live[~known], found[~known], kind.severity.warning)
    return seen + labelled(family, versions[1], live[known], found[known], truth[known])
