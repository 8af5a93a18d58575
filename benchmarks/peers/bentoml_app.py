"""The job on BentoML: two workers with adaptive batching.

Exists to be compared with; its best setting of those tried on two cores.
"""

import os
import sys
from typing import Any

import bentoml

from benchmarks.peers.job import BATCH, Job


@bentoml.service(workers=2, traffic={"timeout": 60, "max_concurrency": 1024}, logging={"access": {"enabled": False}})
class Judge:
    """Judges all windows of the requests that were gathered in one pass."""

    def __init__(self) -> None:
        self._job = Job()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=10_000)
    def predict(self, windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Judge windows."""
        return self._job.answer(windows)


if __name__ == "__main__":
    arguments = ["bentoml", "serve", "benchmarks.peers.bentoml_app:Judge", "--host", "127.0.0.1", "--port", sys.argv[1]]
    os.execv(os.path.join(os.path.dirname(sys.executable), "bentoml"), arguments)  # noqa: S606, PTH118, PTH120
