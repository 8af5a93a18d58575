"""The job on `mlflow models serve`: a pyfunc model, two workers.

Exists to be compared with; its best setting of those tried on two cores.
"""

import os
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from mlflow.models import set_model

import mlflow
from benchmarks.peers.job import Job


class Judge(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    """Judges all windows of a request in one pass."""

    def load_context(self, context: Any) -> None:
        """Load the models in a worker."""
        self._job = Job()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[dict[str, Any]]:
        """Judge windows."""
        return self._job.answer(list(model_input["windows"]))


set_model(Judge())

if __name__ == "__main__":
    folder = Path(mkdtemp()) / "model"
    mlflow.pyfunc.save_model(folder, python_model=__file__, pip_requirements=[])
    binary = Path(sys.executable).parent / "mlflow"
    words = ["models", "serve", "-m", str(folder), "--env-manager", "local", "-h", "127.0.0.1", "-p", sys.argv[1]]
    os.execv(binary, [str(binary), *words, "--workers", "2"])  # noqa: S606
