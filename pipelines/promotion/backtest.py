"""Compares a candidate with the live version on windows that were answered before, and on what people said of them.

The promoter runs it before a candidate answers anybody.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.machines.commissioning import Normal
from pipelines.machines.family import read_family
from pipelines.promotion.gates import Evidence, compared, labelled
from pipelines.promotion.mlflow_client import Registry
from pipelines.promotion.model_loader import take
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Window, stored_window

LOGGER = logging.getLogger(__name__)


class StoredWindow(NamedTuple):
    """A stored window.

    Attributes:
        window: `{"values": {channel: [..]}, "rate_hz": ..}`.
        baseline: The system's normal that it met, as `Normal.to_bytes` writes it; None where there was none.
        anomalous: What people said of it; None where nobody did.
    """

    window: Mapping[str, Any]
    baseline: bytes | None
    anomalous: bool | None


def readable(window: Mapping[str, Any], baseline: bytes | None) -> tuple[Window, Normal | None] | None:
    """Return a window and its system's normal as they were stored; None, logged, where they cannot be read."""
    try:
        return stored_window(window), None if baseline is None else Normal.from_bytes(baseline)
    except Exception as error:
        LOGGER.warning("a stored window passed over: %s", type(error).__name__)
        return None


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
    read = [(each.anomalous, *past) for each in stored if (past := readable(each.window, each.baseline))]
    if not read:
        return Evidence(family, versions[1])
    kind = read_family(family)
    said, windows, normals = zip(*read, strict=True)
    table = make_feature_table(windows, normals, kind)
    before, candidate = (take(registry, name, version) for version in versions)
    live = before.votes(table, "score").anomaly
    try:
        found = candidate.votes(table, "score").anomaly
    except Exception as error:  # whatever a new version raises is a reason to send it back
        LOGGER.warning("candidate failed: %s", type(error).__name__)
        return Evidence(family, versions[1], errors=len(read))
    known = np.array([anomalous is not None for anomalous in said])
    truth = np.array([anomalous is True for anomalous in said])
    # A candidate that mends what people complained of calls just these otherwise: they count by what is true alone.
    seen = compared(family, versions[1], live[~known], found[~known], kind.severity.warning)
    return seen + labelled(family, versions[1], live[known], found[known], truth[known])
