"""Beside the request path: how a trained version is written into MLflow.

Exists so that MLflow shows its signature and source run, while its files stay in their native formats.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

FLAVOR = "hdx"


def save_model(
    path: str, mlflow_model: "Model", files: Mapping[str, bytes], signature: "ModelSignature", **_: Any
) -> None:
    """Write a version's files beside MLflow's own description; the name and arguments are MLflow's."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    mlflow_model.signature = signature
    mlflow_model.add_flavor(FLAVOR, files=sorted(files))
    mlflow_model.save(str(folder / "MLmodel"))
