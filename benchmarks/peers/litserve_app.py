"""The job on LitServe: two workers that gather requests.

Exists to be compared with; its best setting of those tried on two cores.
"""

import sys
from typing import Any

import litserve as ls

from benchmarks.peers.job import BATCH, Job


class Api(ls.LitAPI):
    """Judges all windows of the requests that were gathered in one pass."""

    def setup(self, device: str) -> None:
        """Load the models in a worker."""
        self._job = Job()

    def decode_request(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the windows of a request."""
        return [item["sensor_data"] for item in request.get("items", [request])]

    def batch(self, inputs: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Keep requests apart."""
        return inputs

    def predict(self, x: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Judge them."""
        found = iter(self._job.answer([window for part in x for window in part]))
        return [[next(found) for _ in part] for part in x]

    def unbatch(self, output: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Hand each request its own."""
        return output

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        """Write an answer."""
        return {"results": output}


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=0.001)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2, timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False)
