"""`make bench-promotion`: versions moved under load, good ones, bad ones, and a registry that dies.

Counts the requests that fail, and times how soon a move is followed.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from benchmarks.speed import ROOT, machine, markdown, put
from configs.gates import read_gates
from configs.settings import Models
from pipelines.datasets.simulator import simulate, simulate_recordings
from pipelines.detectors import forest
from pipelines.detectors.base import Detector, Examples
from pipelines.detectors.bundle import Bundle
from pipelines.detectors.members import registry
from pipelines.machines.family import read_family
from pipelines.promotion.mlflow_client import Registry
from pipelines.training.train import examples_of, fit_member
from serve_app.shared.credentials import webhook_secret
from tests.serve.promotions import register, registry_of
from tests.serve.service import Service, free_ports

FAMILY = read_family("generic")
DETECTOR = "random_forest"
NAME = f"hdx-generic-{DETECTOR}"
KEPT = Path(__file__).with_name("promotion.json")
PAGE = ROOT / "docs" / "promotion.md"
# A load that this machine carries with room to spare, so that a stall shows as latency and not as a longer queue.
WORKERS, RATE_HZ, SYSTEMS, WINDOWS = 8, 100.0, 40, 400
GOOD, QUIET_S, PATIENCE_S, SEED = 12, 4.0, 60.0, 11
SLOWER = 30  # times the trees
REQUESTS_LEAST, FOLLOW_S, ROLLBACK_S, LATENCY_RATIO = 10_000, 5.0, 2.0, 2.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One request."""

    at: float
    seconds: float
    failed: bool
    version: str


@dataclass
class Load:
    """A steady stream of windows of many systems, at a fixed rate."""

    base: str
    headers: dict[str, str]
    bodies: Sequence[dict[str, Any]]
    sent: list[Sent] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        """Send every `WORKERS`-th window until stopped."""
        due, step = time.time(), WORKERS / RATE_HZ
        with httpx.Client(base_url=self.base, headers=self.headers, timeout=30) as client:
            while not self.stopped.is_set():
                due += step
                body = self.bodies[number % len(self.bodies)]
                number += WORKERS
                begun = time.time()
                self.sent.append(one(client, body, begun))
                time.sleep(max(0.0, due - time.time()))

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Send while the block runs."""
        threads = [threading.Thread(target=self.run, args=(number,)) for number in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()

    def between(self, first: float, last: float) -> list[Sent]:
        """Return what was sent in a stretch of time."""
        return [one for one in list(self.sent) if first <= one.at < last]


def one(client: httpx.Client, body: dict[str, Any], begun: float) -> Sent:
    """Send one window."""
    try:
        answer = client.post("/api/diagnostics/anomaly/detect/", json=body)
    except httpx.HTTPError:
        return Sent(begun, time.time() - begun, True, "")
    seconds = time.time() - begun
    if not answer.is_success:
        return Sent(begun, seconds, True, "")
    votes = {vote["ml_model"]: vote["version"] for vote in answer.json()["ml_predictions"]}
    return Sent(begun, seconds, False, votes[DETECTOR])


@dataclass
class Mlflow:
    """A tracking server that can be killed and started again."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.sqlite"]
        command += ["--artifacts-destination", str(self.folder / "artefacts")]
        names = os.environ | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=",
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=names, stdout=log, stderr=log, start_new_session=True)
        until(self._answers, "MLflow answers")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """Kill it with its workers."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def until(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> float:
    """Wait for something; return when it was so.

    Raises:
        RuntimeError: It was not.
    """
    end = time.time() + patience_s
    while not holds():
        if time.time() > end:
            raise RuntimeError(f"not within {patience_s:g} s: {what}")
        time.sleep(0.05)
    return time.time()


@dataclass
class Field:
    """The service under load, and its registry."""

    service: Service
    client: httpx.Client
    mlflow: Mlflow
    load: Load
    source: Registry

    def fleet(self) -> dict[str, Any]:
        """Return what stands where for the model."""
        models = self.client.get("/api/models/").raise_for_status().json()["models"]
        found: dict[str, Any] = next(model["fleet"] for model in models if model["name"] == NAME)
        return found

    def settled(self, version: str) -> bool:
        """Tell whether every replica answers with a version and nothing is under way."""
        fleet = self.fleet()
        return set(fleet["replicas"]) == {version} and fleet["live"] == version and fleet["rollout"] is None

    def calm(self) -> None:
        """Let the load run by itself."""
        time.sleep(QUIET_S)

    def decided(self, version: str, kind: str) -> float:
        """Return when the promoter decided a step about a version."""
        lines = (self.service.home / "logs" / "hdx.jsonl").read_text(encoding="utf-8").splitlines()
        for line in reversed(lines):
            if '"event": "promotion"' in line:
                step = json.loads(line)
                if (step["model"], step["move"], step["version"]) == (NAME, kind, version):
                    return datetime.fromisoformat(step["time"]).timestamp()
        raise RuntimeError(f"no step {kind} of version {version} in the log")


def follow(field_: Field, version: str) -> dict[str, float]:
    """Move the alias to a good version; return how long the fleet took and what it cost."""
    field_.calm()
    begun = time.time()
    field_.source.promote(NAME, version)
    live = until(lambda: field_.settled(version), f"version {version} is live everywhere")
    time.sleep(0.5)
    before = [one.seconds for one in field_.load.between(begun - QUIET_S, begun)]
    during = [one.seconds for one in field_.load.between(begun, live + 0.5)]
    return {
        "follow_s": live - begun,
        "latency_ratio": statistics.median(during) / statistics.median(before),
        "p95_ratio": float(np.quantile(during, 0.95)) / statistics.median(before),
    }


def send_back(field_: Field, version: str, live: str) -> dict[str, float]:
    """Move the alias to a bad version; return why and how fast it was sent back."""
    field_.calm()
    begun = time.time()
    field_.source.promote(NAME, version)
    until(lambda: field_.source.state(NAME).champion == live, f"version {version} is sent back")
    gone = until(lambda: field_.settled(live), f"version {live} is live everywhere")
    broke = field_.decided(version, "back")
    time.sleep(1)
    last = max([one.at for one in field_.load.sent if one.version == version], default=broke)
    return {
        "caught_s": broke - begun,
        "rollback_s": max(gone, last) - broke,
        "answered": float(sum(one.version == version for one in field_.load.sent)),
    }


def die_midway(field_: Field, version: str, live: str) -> dict[str, float]:
    """Kill the registry in the shadow of a good version, start it again, and see the version arrive."""
    field_.calm()
    field_.source.promote(NAME, version)
    until(lambda: field_.fleet()["rollout"] is not None, "the rollout has begun")
    field_.mlflow.kill()
    died = time.time()
    time.sleep(2 * QUIET_S)
    answered = {one.version for one in field_.load.between(died, time.time() - 1)}
    field_.mlflow.start()
    back = time.time()
    arrived = until(lambda: field_.settled(version), f"version {version} is live everywhere")
    return {"down_s": back - died, "arrived_s": arrived - back, "versions": float(len(answered - {live, version}))}


def explicit(field_: Field, name_of_route: str) -> dict[str, float]:
    """Ask for the previous version, as an administrator does; return how long the fleet took."""
    previous = field_.fleet()["previous"]
    field_.calm()
    begun = time.time()
    field_.client.post(f"/api/models/{NAME}/{name_of_route}/").raise_for_status()
    return {"rollback_s": until(lambda: field_.settled(previous), f"version {previous} is live again") - begun}


def bundles_of(examples: Examples, fingerprint: str) -> dict[str, Bundle]:
    """Return a good version, one that raises on live windows alone, a slow one, and one taught the wrong way round."""
    kind: type[Detector] = registry()[DETECTOR]
    good = fit_member(kind, FAMILY, examples, SEED, fingerprint)
    files = good.detector.save()
    filling = json.loads(files[forest.FILLING])
    # The canary asks for the score alone: the heads are first asked by a live window.
    filling["width"] = {name: 1 if name.startswith("head") else width for name, width in filling["width"].items()}
    raising = Bundle(good.card, kind.load({**files, forest.FILLING: json.dumps(filling).encode()}))
    flipped = fit_member(kind, FAMILY, replace(examples, anomaly=~examples.anomaly), SEED, fingerprint)
    shipped = forest.TREES, forest.TOLERANCE
    # So many single-precision numbers add up to less exact ones.
    forest.TREES, forest.TOLERANCE = SLOWER * forest.TREES, 1e-3
    try:
        slow = Bundle(good.card, kind.fit(examples, SEED))
    finally:
        forest.TREES, forest.TOLERANCE = shipped
    return {"good": good, "raises": raising, "slow": slow, "disagrees": flipped}


def spoilt(mlflow: Mlflow, source: Registry, version: str) -> None:
    """Change one byte of a version's largest file where it lies."""
    path = source.release(NAME, version).path
    largest = max((mlflow.folder / "artefacts" / path).iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def bodies(client: httpx.Client) -> list[dict[str, Any]]:
    """Return windows of many systems, most of them healthy, no two alike."""
    made = [client.post("/api/systems/", json={"name": f"press {n}", "family": "generic"}) for n in range(SYSTEMS)]
    systems = [answer.raise_for_status().json()["system_id"] for answer in made]
    faults = ("healthy",) * 9 + ("pump_wear",)
    found = []
    for number in range(WINDOWS):
        window = simulate(faults[number % len(faults)], 0.8, 60, number)
        values = {name: samples.tolist() for name, samples in window.values.items()}
        found.append({"system_id": systems[number % SYSTEMS], "sensor_data": values})
    return found


def measure(console: Console, placement: str) -> dict[str, Any]:
    """Run every promotion; return all figures."""
    with TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "mlflow").mkdir()
        mlflow = Mlflow(folder / "mlflow", free_ports(1)[0])
        mlflow.start()
        (folder / "clone").mkdir()
        names = {"HDX_GRAPH__PLACEMENT": placement, "HDX_MLFLOW_URL": mlflow.url, "HDX_CACHE__TTL_S": "0"}
        service = Service(folder / "clone", names)
        try:
            service.start()
            source = registry_of(service)
            address = f"{service.base}/internal/mlflow/webhook"
            source.subscribe(address, webhook_secret(service.secret("HDX_SECRET_KEY")))
            with service.client() as client:
                key = client.headers["Authorization"]
                console.print("train")
                recordings = simulate_recordings(FAMILY, 60, 24, SEED)
                made = bundles_of(examples_of(recordings, FAMILY), recordings.fingerprint)
                load = Load(service.base, {"Authorization": key}, bodies(client))
                return promoted(console, Field(service, client, mlflow, load, source), made)
        finally:
            service.stop()
            mlflow.kill()


def promoted(console: Console, field_: Field, made: dict[str, Bundle]) -> dict[str, Any]:
    """Move versions of every kind under load."""
    service = field_.service
    good = [register(service, made["good"], f"good {number}") for number in range(GOOD + 3)]
    bad = {name: register(service, made[name], name) for name in ("raises", "slow", "disagrees")}
    bad["corrupt"] = register(service, made["good"], "corrupt")
    spoilt(field_.mlflow, field_.source, bad["corrupt"])
    figures: dict[str, Any] = {"follow": [], "back": {}}
    with field_.load.flowing():
        field_.calm()
        for version in good[:GOOD]:
            figures["follow"].append(follow(field_, version))
            console.print(f"version {version}: {figures['follow'][-1]}")
        for name, version in bad.items():
            figures["back"][name] = send_back(field_, version, good[GOOD - 1])
            console.print(f"{name}: {figures['back'][name]}")
        figures["rollback"] = explicit(field_, "rollback")
        console.print(f"rollback: {figures['rollback']}")
        field_.calm()
        live = field_.fleet()["live"]
        figures["dies"] = die_midway(field_, good[GOOD], live)
        console.print(f"registry dies: {figures['dies']}")
        until(lambda: len(field_.load.sent) >= REQUESTS_LEAST, "requests enough", 300)
    sent = field_.load.sent
    figures["requests"], figures["failed"] = len(sent), sum(one.failed for one in sent)
    return figures


def rows_of(figures: dict[str, Any]) -> list[tuple[str, str, float, bool]]:
    """Return each figure with its demand and whether it is met."""
    follow_s = float(np.quantile([each["follow_s"] for each in figures["follow"]], 0.95))
    ratio = statistics.median(each["latency_ratio"] for each in figures["follow"])
    worst = max(each["latency_ratio"] for each in figures["follow"])
    rows = [
        ("requests", f">= {REQUESTS_LEAST}", figures["requests"], figures["requests"] >= REQUESTS_LEAST),
        ("failed", "0", figures["failed"], figures["failed"] == 0),
        ("alias to all replicas, p95, s", f"<= {FOLLOW_S:g}", follow_s, follow_s <= FOLLOW_S),
        ("median latency in a swap / before, median", f"<= {LATENCY_RATIO:g}", ratio, ratio <= LATENCY_RATIO),
        ("the same, worst swap", f"<= {LATENCY_RATIO:g}", worst, worst <= LATENCY_RATIO),
    ]
    for name, each in (*figures["back"].items(), ("asked for", figures["rollback"])):
        rows.append(
            (f"rollback, {name}, s", f"<= {ROLLBACK_S:g}", each["rollback_s"], each["rollback_s"] <= ROLLBACK_S)
        )
    return rows


def main() -> None:
    """Measure both placements, or those named, write the page, and fail on a figure that misses its demand."""
    console = Console()
    kept = json.loads(KEPT.read_text(encoding="utf-8"))["figures"] if KEPT.exists() else {}
    found = kept | {placement: measure(console, placement) for placement in sys.argv[1:] or ["packed", "spread"]}
    KEPT.write_text(json.dumps({"machine": machine(), "figures": found}, indent=1), encoding="utf-8")
    texts, fine = [], True
    for placement, figures in found.items():
        rows = rows_of(figures)
        fine = fine and all(met for *_, met in rows)
        shown = [[name, demand, f"{value:.4g}", "ok" if met else "MISSED"] for name, demand, value, met in rows]
        texts.append(f"Placement `{placement}`:\n\n" + markdown(["figure", "demand", "measured", ""], shown))
    stated = f"Poll every {Models().poll_s:g} s, webhook on, report every {read_gates().report_s:g} s while under way."
    put(PAGE, "figures", "\n\n".join([stated, *texts]))
    console.print("\n\n".join(texts))
    sys.exit(not fine)


if __name__ == "__main__":
    main()
