"""Writes a trained version into MLflow with signature and source run, its files in their native formats."""

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
