"""The job that all servers are measured on, inside each peer, from the same model files and features as HDX.

A difference between servers is then a difference of serving, and of nothing else.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.settings import Limits
from pipelines.detectors.bundle import Bundle, unpack
from pipelines.detectors.members import registry
from pipelines.diagnosis.ensemble import decide
from pipelines.diagnosis.situation import situations
from pipelines.machines.family import read_family
from pipelines.signals.channels import read_window
from pipelines.signals.reading import make_feature_table

FAMILY = "generic"
BATCH = 64  # windows judged together, where a server gathers requests: as many as HDX's micro-batch


class Job:
    """Four detectors of one family, loaded once.

    The folder of `HDX_BENCH_MODELS` holds a folder a detector.
    """

    def __init__(self) -> None:
        models = Path(os.environ["HDX_BENCH_MODELS"])
        self._family = read_family(FAMILY)
        self._members: dict[str, Bundle] = {
            # In the order in which HDX adds the votes up: a sum of floats depends on it in its last bit.
            name: unpack({file.name: file.read_bytes() for file in (models / name).iterdir()})
            for name in registry()
        }

    def answer(self, windows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Judge windows, each by channel an array of numbers, in one pass."""
        family, limits = self._family, Limits()
        given = [{name: values for name, values in window.items() if name != "system_id"} for window in windows]
        read = [read_window(window, None, family, limits) for window in given]
        table = make_feature_table(read, [None] * len(read), family)
        votes = {name: bundle.votes(table, detail="score") for name, bundle in self._members.items()}
        seconds, samples = np.array([(window.seconds, window.samples) for window in read]).T
        situation = situations(family, table, samples.astype(np.int64))
        healthy = np.zeros(len(read), dtype=np.bool_)
        verdicts = decide(family, table, seconds, healthy, votes, situation=situation)
        severities = verdicts.severities(family)
        return [
            {
                "anomaly_score": None if np.isnan(score) else float(score),
                "severity": severities[row],
                "ml_predictions": {
                    member.detector: None if member.reasons[row] else float(member.anomaly[row])
                    for member in verdicts.tally.members
                },
            }
            for row, score in enumerate(verdicts.tally.score)
        ]
