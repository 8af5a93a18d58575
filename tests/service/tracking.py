"""In service tests: an MLflow server as `hdx run` starts it, over SQLite, and what signs versions in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from configs.settings import Settings
from pipelines.promotion.mlflow_client import Access, Registry
from pipelines.promotion.signing import Signer
from serve_app.local.bootstrap import mlflow_environment
from tests.serve.service import free_ports

USER, PASSWORD = "hdx", "the-registry-password"
SIGNER = Signer(b"s" * 32)


def access_to(url: str, alias: str = "champion") -> Access:
    """Return how a server of this file is reached, and whose versions are believed."""
    return Access(url, alias, (USER, PASSWORD), (SIGNER.public,))


def registry_at(url: str, alias: str = "champion") -> Registry:
    """Return the registry of a server of this file."""
    return Registry(access_to(url, alias))


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """Start a server in a folder; yield its address, and stop it at the end."""
    (port,) = free_ports(1)
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--app-name", "hdx", "--artifacts-destination", str(folder / "artefacts")]
    names = mlflow_environment(Settings(mlflow_password=PASSWORD), f"sqlite:///{folder}/mlflow.sqlite")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=names, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/health").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
