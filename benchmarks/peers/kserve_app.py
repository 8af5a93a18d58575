"""The job on KServe's Python server: the V1 protocol, two workers.

Exists to be compared with; its best setting of those tried on two cores.
"""

import sys
from typing import Any

from kserve import Model, ModelServer

from benchmarks.peers.job import Job


class Judge(Model):
    """Judges all windows of a request in one pass."""

    def __init__(self) -> None:
        super().__init__("hdx")
        self.load()

    def load(self) -> bool:
        """Load the models."""
        self._job: Job | None = None
        self.ready = True
        return True

    def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> dict[str, Any]:
        """Judge windows; the models are loaded by the worker itself, since the server pickles this object for it."""
        if self._job is None:
            self._job = Job()
        return {"predictions": self._job.answer(payload["instances"])}


if __name__ == "__main__":
    port = sys.argv.pop(1)
    ModelServer(http_port=int(port), enable_grpc=False, workers=2, access_log_format=None).start([Judge()])
