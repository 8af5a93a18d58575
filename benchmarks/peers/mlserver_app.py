"""The job on MLServer: two workers with adaptive batching, windows as JSON in the V2 protocol.

Exists to be compared with; its best setting of those tried on two cores.
"""

import json
import os
import sys
from pathlib import Path
from tempfile import mkdtemp

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.job import Job


class Judge(MLModel):
    """Judges all windows of a request in one pass."""

    async def load(self) -> bool:
        """Load the models in a worker."""
        self._job = Job()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Judge windows."""
        windows = [json.loads(text) for text in StringCodec.decode_input(payload.inputs[0])]
        found = [json.dumps(answer) for answer in self._job.answer(windows)]
        output = StringCodec.encode_output("answers", found)
        return InferenceResponse(model_name=self.name, outputs=[output])


if __name__ == "__main__":
    folder = Path(mkdtemp())
    port = int(sys.argv[1])
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    settings |= {"parallel_workers": 2, "debug": False, "metrics_endpoint": None}
    model = {"name": "hdx", "implementation": "benchmarks.peers.mlserver_app.Judge"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    binary = Path(sys.executable).parent / "mlserver"
    os.execv(binary, [str(binary), "start", str(folder)])  # noqa: S606
