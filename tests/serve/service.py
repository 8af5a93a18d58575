"""A service started the way the README says, for tests and benchmarks that talk to it."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from configs.settings import Settings
from pipelines.datasets.simulator import HEALTHY, simulate
from pipelines.machines.commissioning import NEEDED

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
HDX = Path(sys.executable).parent / "hdx"
ADMIN_PASSWORD = "test-password-1"
PORTS = tuple(name.upper() for name in Settings.model_fields if name.endswith("port"))
START_S = 900
LISTENING = range(20_000, 32_768)  # above those of Ray's workers, below the ephemeral range of Linux


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, all different, below those that the system hands to clients.

    A server may bind one minutes later; a port of the system's own range would be some connection's by then.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(LISTENING, len(LISTENING)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found


@dataclass
class Service:
    """`hdx run` in a folder that looks like a fresh clone: `.venv` there, `.env` and `var` not yet."""

    folder: Path
    extra: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None
    output: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HDX_", "RAY_"))}
        ports = {f"HDX_{name}": str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
        self.environment = clean | ports | {"HDX_ADMIN_PASSWORD": ADMIN_PASSWORD} | self.extra
        if not (self.folder / ".venv").exists():
            (self.folder / ".venv").symlink_to(Path(sys.executable).parents[1])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.environment['HDX_PORT']}"

    @property
    def home(self) -> Path:
        return self.folder / "var"

    def start(self) -> "Service":
        self.output.clear()
        self.process = subprocess.Popen(
            [str(HDX), "run"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(ready,), daemon=True).start()
        end = time.monotonic() + START_S
        while not ready.wait(0.5):
            assert self.process.poll() is None, "".join(self.output[-60:])
            assert time.monotonic() < end, "".join(self.output[-60:])
        return self

    def _read(self, ready: threading.Event) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if "Ctrl-C stops" in line:
                ready.set()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)

    def hdx(self, *words: str, timeout_s: float = 600) -> str:
        done = subprocess.run(
            [str(HDX), *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def secret(self, name: str) -> str:
        lines = (self.folder / ".env").read_text(encoding="utf-8").splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    @property
    def settings(self) -> Settings:
        """What leads to its registry, and signs there."""
        return Settings(
            mlflow_url=self.environment.get("HDX_MLFLOW_URL", ""),
            mlflow_port=int(self.environment["HDX_MLFLOW_PORT"]),
            mlflow_password=self.secret("HDX_MLFLOW_PASSWORD"),
            secret_key=self.secret("HDX_SECRET_KEY"),
        )

    @contextmanager
    def client(self, username: str = "admin", password: str = ADMIN_PASSWORD) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.base, timeout=60) as client:
            answer = client.post("/api/auth/login/", json={"username": username, "password": password})
            client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access']}"
            yield client


def commissioned(client: httpx.Client, name: str) -> int:
    """Make a system of family `generic` and let it learn its normal from healthy windows at typical levels."""
    system: int = client.post("/api/systems/", json={"name": name, "family": "generic"}).json()["system_id"]
    windows = [simulate(HEALTHY, 0.0, 60, 7000 + seed) for seed in range(NEEDED)]
    items = [
        {"system_id": system, "sensor_data": {channel: samples.tolist() for channel, samples in window.values.items()}}
        for window in windows
    ]
    client.post("/api/diagnostics/anomaly/detect/batch/", json={"items": items}).raise_for_status()
    assert client.get(f"/api/systems/{system}/").json()["state"] == "monitoring"
    return system
