"""`make bench`: HDX beside the servers that a user might pick instead, on one and the same job.

Speed is a ratio to the floor of the same run: interleaved rounds, medians, failures counted.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from pipelines.detectors.members import registry
from pipelines.machines.family import read_family
from tests.serve.promotions import registry_of
from tests.serve.service import ADMIN_PASSWORD, Service, free_ports

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
KEPT = HERE / "speed.json"
PAGE = ROOT / "docs" / "performance.md"
FLOOR = "uvicorn"
CONCURRENCY, WINDOWS = (1, 8, 32, 64), (1, 16, 64)
ROUNDS, SECONDS, BODIES, SAMPLES = 3, 2, 64, 60
# Seconds of load by (concurrency, windows a request): of every server, and of HDX with all duties.
WHOLE = {(c, w): SECONDS for w in WINDOWS for c in CONCURRENCY}, {(c, 1): SECONDS for c in CONCURRENCY}
QUICK = {(1, 1): 1, (32, 1): 1, (64, 1): 1, (32, 64): SECONDS}, {(32, 1): 1}
TURNS = 2  # of the quick form: HDX and the floor meet the same moments of the machine
TOLERANCE = 0.25  # of a ratio; source: three rounds of one build on this kind of machine lay within it
COMMON = ("numpy", "catboost", "xgboost", "onnxruntime", "pydantic", "pydantic-settings", "pyyaml", "python-dotenv")
PINNED = ("numpy", "catboost", "xgboost", "onnxruntime", "nvidia-nccl-cu12")
START_S = 180
STARTS = 3
SCORED = (20_000, 120_000)  # windows in the two files of `hdx score`
IDLE_S = 5.0
DIAGNOSE_S = 8  # at ten requests a second the 95th percentile of two seconds is the slowest one
KEY = "the-same-key-on-every-server"
HEADERS = {"X-Internal-API-Key": KEY}

Body = dict[str, Any]
Singles = dict[str, list[float]]
Seconds = Mapping[tuple[int, int], int]
Medians = dict[tuple[str, int, int], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Server:
    """One server in the comparison.

    Attributes:
        needs: What its environment holds beside the models' libraries.
        path: Of a request with one window; `many` of one with several.
        wrap: Makes the body of a request; `open` finds the answers in its reply.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    path: str
    many: str
    wrap: Callable[[list[Body]], Any]
    open: Callable[[Any], list[Body]]


def one_or_items(windows: list[Body]) -> Body:
    """Return HDX's own body: one window, or items."""
    bodies = [{"sensor_data": window, "use_cache": False, "detail": "score"} for window in windows]
    return bodies[0] if len(bodies) == 1 else {"items": bodies}


def results(reply: Any) -> list[Body]:
    """Return the answers of HDX's own reply."""
    found: list[Body] = reply.get("results", [reply])
    return found


def v2(windows: list[Body]) -> Body:
    """Return a body of the V2 inference protocol, a window as a string of JSON."""
    data = [json.dumps(window) for window in windows]
    return {"inputs": [{"name": "windows", "shape": [len(data)], "datatype": "BYTES", "data": data}]}


PEERS = (
    Server(FLOOR, "floor", ("fastapi", "uvicorn[standard]"), "/predict", "/predict/batch", one_or_items, results),
    Server("mosec", "mosec_app", ("mosec==0.9.8", "msgspec"), "/inference", "/inference", one_or_items, results),
    Server("LitServe", "litserve_app", ("litserve==0.2.19",), "/predict", "/predict", one_or_items, results),
    Server("BentoML", "bentoml_app", ("bentoml==1.4.39",), "/predict", "/predict", lambda w: {"windows": w}, list),
    Server(
        "MLServer",
        "mlserver_app",
        ("mlserver==1.7.1", "uvloop<0.22"),
        "/v2/models/hdx/infer",
        "/v2/models/hdx/infer",
        v2,
        lambda reply: [json.loads(text) for text in reply["outputs"][0]["data"]],
    ),
    Server(
        "MLflow",
        "mlflow_app",
        ("mlflow==3.17.2", "uvicorn"),
        "/invocations",
        "/invocations",
        lambda w: {"dataframe_records": [{"windows": window} for window in w]},
        lambda reply: list(reply["predictions"]),
    ),
    Server(
        "KServe",
        "kserve_app",
        ("kserve==0.21.0",),
        "/v1/models/hdx:predict",
        "/v1/models/hdx:predict",
        lambda w: {"instances": w},
        lambda reply: list(reply["predictions"]),
    ),
)
PREDICT = "/internal/ml/api/v1/predict"
HDX = {
    f"HDX {placement}": Server(f"HDX {placement}", placement, (), PREDICT, f"{PREDICT}/batch", one_or_items, results)
    for placement in ("spread", "packed")
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement.

    Units: `cpu_s` processor seconds a thousand requests; `memory_mb` proportional set size of all processes.
    """

    server: str
    windows: int
    concurrency: int
    round: int
    requests_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int
    cpu_s: float
    memory_mb: float


@dataclass
class Load:
    """Bodies on disk, and wrk to send them."""

    folder: Path
    cells: list[Cell] = field(default_factory=list)

    def send(
        self, url: str, bodies: Path, headers: Mapping[str, str], concurrency: int, seconds: int = SECONDS
    ) -> dict[str, float]:
        """Load one address for a bounded time.

        Raises:
            RuntimeError: wrk ended with an error.
        """
        given = "\n".join(f"{name}: {value}" for name, value in headers.items())
        names = os.environ | {"HDX_BENCH_BODIES": str(bodies), "HDX_BENCH_HEADERS": given}
        command = [
            "wrk",
            "-t1",
            f"-c{concurrency}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            str(HERE / "load.lua"),
            url,
        ]
        done = subprocess.run(command, env=names, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr or done.stdout)
        found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def bodies(self, server: Server, windows: int) -> Path:
        """Write the bodies of a server's requests, the same windows for all."""
        path = self.folder / f"{server.name}-{windows}.jsonl".replace(" ", "-")
        if not path.exists():
            made = [json.dumps(server.wrap(part)) for part in parts_of(windows)]
            path.write_text("\n".join(made) + "\n", encoding="utf-8")
        return path


def parts_of(windows: int) -> list[list[Body]]:
    """Return the windows of each of the requests that are cycled through: quiet ones and strange ones, never alike."""
    family, random = read_family("generic"), np.random.default_rng(windows)

    def window() -> Body:
        drift = random.normal(size=(len(family.channels), 1)) * random.choice([0.2, 5.0])
        noise = drift + random.normal(size=(len(family.channels), SAMPLES))
        values = {
            name: np.clip(channel.typical + channel.spread * noise[place], channel.low, channel.high).round(4).tolist()
            for place, (name, channel) in enumerate(family.channels.items())
        }
        return {"system_id": 1, **values}

    return [[window() for _ in range(windows)] for _ in range(BODIES)]


def build(server: Server, folder: Path) -> Path:
    """Make a server's own environment once; return its interpreter."""
    home = folder / server.module
    python = home / "bin" / "python"
    mark = home / ".installed"
    wanted = " ".join(server.needs)
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python
    uv = folder / "uv" / "bin" / "uv"
    if not uv.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "uv"], check=True)
        subprocess.run([folder / "uv" / "bin" / "pip", "install", "--quiet", "uv"], check=True)
    pins = folder / "pins.txt"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins.write_text("\n".join(line for line in lines if line.partition("==")[0] in PINNED), encoding="utf-8")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "-c",
        pins,
        *COMMON,
        *server.needs,
    ]
    subprocess.run(install, check=True)
    mark.write_text(wanted, encoding="utf-8")
    return python


@contextmanager
def peer(server: Server, python: Path, envs: Path, models: Path) -> Iterator[tuple[str, int]]:
    """Start a peer by an interpreter that has what it needs; yield its address and its process."""
    (port,) = free_ports(1)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HDX_")}
    names = clean | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HDX_BENCH_MODELS": str(models),
        "HDX_BENCH_KEY": KEY,
        "OMP_NUM_THREADS": "1",
    }
    log = (envs / f"{server.module}.log").open("wb")
    process = subprocess.Popen(
        [python, "-m", f"benchmarks.peers.{server.module}", str(port)],
        env=names,
        cwd=envs,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        stop(process)
        log.close()


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all that it started."""
    family = family_of(process.pid) if process.poll() is None else []
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=10)
    for each in alive:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(20)


@contextmanager
def answering(
    server: Server, python: Path, envs: Path, models: Path, headers: Mapping[str, str]
) -> Iterator[tuple[str, int]]:
    """Start a peer until it judges a window; a further port that it takes may be in use, the next time another is.

    Raises:
        RuntimeError: It does not, however often it is started.
    """
    for attempt in range(STARTS):
        with peer(server, python, envs, models) as (base, pid):
            try:
                wait_for_answers(server, base, headers)
            except RuntimeError:
                if attempt == STARTS - 1:
                    raise
                continue
            yield base, pid
            return


def wait_for_answers(server: Server, base: str, headers: Mapping[str, str]) -> None:
    """Wait until a server judges a window.

    Raises:
        RuntimeError: It does not in time.
    """
    (window,) = parts_of(1)[0]
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if httpx.post(base + server.path, json=server.wrap([window]), headers=dict(headers), timeout=10).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"{server.name} does not answer")


def scores(server: Server, base: str, headers: Mapping[str, str]) -> list[float | None]:
    """Return what a server says of the same windows, one by one and many at once."""
    found: list[float | None] = []
    for windows in WINDOWS:
        parts = parts_of(windows)[:4]
        for part in parts:
            path = server.path if windows == 1 else server.many
            reply = httpx.post(base + path, json=server.wrap(part), headers=dict(headers), timeout=60)
            for answer in server.open(reply.raise_for_status().json()):
                found.append(answer.get("prediction", answer)["anomaly_score"])
    return found


def family_of(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def spent(pid: int) -> float:
    """Return processor seconds of a process and all below it."""
    seconds = 0.0
    for process in family_of(pid):
        with suppress(psutil.Error):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def memory_of(pid: int, named: str = "") -> float:
    """Return proportional memory in MB of a process and all below it, or of those so named."""
    total = 0.0
    for process in family_of(pid):
        with suppress(psutil.Error):
            if named in " ".join(process.cmdline()):
                total += process.memory_full_info().pss / 1e6
    return total


@dataclass(frozen=True, slots=True)
class Target:
    """A server that runs now, and the seconds of load of each of its cells (concurrency, windows a request)."""

    server: Server
    base: str
    headers: Mapping[str, str]
    pid: int
    cells: Seconds


def measure(load: Load, targets: Sequence[Target], number: int) -> None:
    """Measure all cells, each on all its targets before the next."""
    for concurrency, windows in dict.fromkeys(cell for target in targets for cell in target.cells):
        for target in targets:
            if (concurrency, windows) in target.cells:
                load.cells.append(measured(load, target, concurrency, windows, number))


def measured(load: Load, target: Target, concurrency: int, windows: int, number: int) -> Cell:
    """Measure one cell."""
    server = target.server
    url = target.base + (server.path if windows == 1 else server.many)
    before = spent(target.pid)
    found = load.send(
        url, load.bodies(server, windows), target.headers, concurrency, target.cells[concurrency, windows]
    )
    cpu = 1e3 * (spent(target.pid) - before) / max(found["requests"], 1)
    rate, failed = found["requests"] / found["seconds"], int(found["failed"])
    times = (found["p50_ms"], found["p95_ms"], found["p99_ms"])
    return Cell(server.name, windows, concurrency, number, rate, *times, failed, cpu, memory_of(target.pid))


@contextmanager
def hdx(placement: str, folder: Path, once: Singles) -> Iterator[tuple[Service, int]]:
    """Start HDX as `make run` does, with its cache off, since the load repeats its windows."""
    settings = {"HDX_CACHE__TTL_S": "0", "HDX_GRAPH__PLACEMENT": placement, "HDX_ML_INTERNAL_API_KEY": KEY}
    again, begun = (folder / "var").exists(), time.monotonic()
    service = Service(folder, settings).start()
    try:
        assert service.process is not None
        if again:
            once.setdefault(f"HDX {placement}, second start, s", []).append(time.monotonic() - begun)
        yield service, service.process.pid
    finally:
        service.stop()


def own_window(windows: list[Body]) -> Body:
    """Return a user's own body: one window of the demo machine."""
    return {"system_id": 1, "sensor_data": {name: v for name, v in windows[0].items() if name != "system_id"}}


DETECT = "/api/diagnostics/anomaly/detect/"
DUTIES = Server("HDX all duties", "spread", (), DETECT, f"{DETECT}batch/", own_window, results)
DIAGNOSE = Server("HDX diagnose", "spread", (), "/api/diagnostics/diagnose/", "", own_window, results)


def login(service: Service) -> dict[str, str]:
    """Return the header of a logged-in user."""
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    answer = httpx.post(f"{service.base}/api/auth/login/", json=body).raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['access']}"}


def score_offline(service: Service, folder: Path) -> float:
    """Return how many windows a second `hdx score` adds to its start: the difference of two files."""
    seconds = []
    for rows in SCORED:
        path = folder / f"windows-{rows}.parquet"
        if not path.exists():
            parts = parts_of(64)
            windows = [window for part in parts for window in part]
            names = [name for name in windows[0] if name != "system_id"]
            columns = {name: [windows[row % len(windows)][name] for row in range(rows)] for name in names}
            pq.write_table(pa.table({"id": list(range(rows)), **columns}), path)
        begun = time.monotonic()
        service.hdx("score", str(path), str(folder / "scores.parquet"), "--family", "generic", "--detail", "score")
        seconds.append(time.monotonic() - begun)
    return (SCORED[1] - SCORED[0]) / (seconds[1] - seconds[0])


def save_models(service: Service, folder: Path) -> None:
    """Write the champions' own files for the peers."""
    source = registry_of(service)
    for name in registry():
        release = source.champion("generic", name)
        assert release is not None
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, content in source.fetch(release).items():
            (folder / name / file).write_bytes(content)


@dataclass
class Bench:
    """Servers that are started, compared and measured."""

    work: Path
    envs: Path
    cells: tuple[Seconds, Seconds]
    load: Load
    once: Singles = field(default_factory=dict)
    first: list[float | None] = field(default_factory=list)

    @property
    def models(self) -> Path:
        """The champions' own files."""
        return self.work / "models"

    def compare(self, target: Target) -> Target:
        """Return a target that answers as the first one did.

        Raises:
            RuntimeError: It gives another answer.
        """
        found = scores(target.server, target.base, target.headers)
        self.first = self.first or found
        if found != self.first:
            raise RuntimeError(f"{target.server.name} answers otherwise than the first")
        return target

    @contextmanager
    def hdx(self, placement: str, name: str) -> Iterator[tuple[Service, list[Target]]]:
        """Start HDX; yield it with its targets: the peers' duties, and where it is `spread` all duties."""
        print(name, file=sys.stderr)
        with hdx(placement, self.work, self.once) as (service, pid):
            server = HDX[f"HDX {placement}"]
            if not self.models.exists():
                save_models(service, self.models)
            wait_for_answers(server, service.base, HEADERS)
            time.sleep(IDLE_S)
            for what, named in (("replicas", "ray::ServeReplica"), ("everything", "")):
                self.once.setdefault(f"{server.name}, {what} idle, MB", []).append(memory_of(pid, named))
            targets = [self.compare(Target(server, service.base, HEADERS, pid, self.cells[0]))]
            if placement == "spread":
                targets.append(Target(DUTIES, service.base, login(service), pid, self.cells[1]))
            yield service, targets

    @contextmanager
    def peer(self, server: Server, name: str) -> Iterator[Target]:
        """Start a peer."""
        print(name, file=sys.stderr)
        with answering(server, build(server, self.envs), self.envs, self.models, HEADERS) as (base, pid):
            yield self.compare(Target(server, base, HEADERS, pid, self.cells[0]))

    def whole(self, rounds: int) -> None:
        """Measure every server alone, over and over."""
        for number in range(rounds):
            for placement in ("spread", "packed"):
                with self.hdx(placement, f"round {number + 1}: HDX {placement}") as (service, targets):
                    for target in targets:
                        measure(self.load, [target], number)
                    if placement == "spread":
                        diagnose = replace(targets[1], server=DIAGNOSE, cells={(1, 1): DIAGNOSE_S})
                        measure(self.load, [diagnose], number)
                        self.once.setdefault("hdx score, windows/s", []).append(score_offline(service, self.work))
            for server in PEERS:
                with self.peer(server, f"round {number + 1}: {server.name}") as target:
                    measure(self.load, [target], number)

    def quick(self) -> None:
        """Measure HDX beside the floor, in turns."""
        for place, placement in enumerate(("spread", "packed")):
            with (
                self.hdx(placement, f"HDX {placement}") as (_, targets),
                self.peer(PEERS[0], "beside the floor") as floor,
            ):
                for turn in range(TURNS):
                    measure(self.load, [floor, *targets], place * TURNS + turn)


def medians(cells: Sequence[Cell]) -> Medians:
    """Return by server, windows and concurrency each median, and the median ratio to the floor of the same round."""
    floor = {(c.windows, c.concurrency, c.round): c for c in cells if c.server == FLOOR}
    grouped: dict[tuple[str, int, int], list[Cell]] = {}
    for cell in cells:
        grouped.setdefault((cell.server, cell.windows, cell.concurrency), []).append(cell)
    names = ("requests_s", "p50_ms", "p95_ms", "p99_ms", "cpu_s", "memory_mb")
    found = {}
    for kind, group in grouped.items():
        row = {name: statistics.median(getattr(cell, name) for cell in group) for name in names}
        same = [(cell, floor[cell.windows, cell.concurrency, cell.round]) for cell in group]
        row["rate"] = statistics.median(cell.requests_s / least.requests_s for cell, least in same)
        row["latency"] = statistics.median(cell.p50_ms / least.p50_ms for cell, least in same)
        row["failed"] = sum(cell.failed for cell in group)
        found[kind] = row
    return found


# What is promised of the ratios to the floor: server, windows, concurrency, figure, bound.
DEMANDS = (
    ("HDX spread", 1, 32, "rate", 1.0),
    ("HDX spread", 1, 64, "rate", 1.5),
    ("HDX spread", 1, 1, "latency", 7.0),
    ("HDX spread", 64, 32, "rate", 1.1),
    ("HDX packed", 1, 1, "latency", 2.5),
    ("HDX packed", 1, 32, "rate", 1.7),
    ("HDX packed", 1, 64, "rate", 2.2),
    ("HDX all duties", 1, 32, "rate", 0.6),
)
BEATEN = ("KServe", "BentoML", "MLflow", "LitServe", "MLServer")
# What the slow end of diagnose may take at one request at a time: so many times detect's, and the search beside it.
DETECTS, ADVICE_MS = 3, 150
# What is promised beside the ratios: name, bound, whether more is better.
SINGLES = (
    ("hdx score, windows/s", 25_000, True),
    ("HDX spread, replicas idle, MB", 2_200, False),
    ("HDX spread, second start, s", 45, False),
)


@dataclass(frozen=True, slots=True)
class Promise:
    """One promised figure beside its measurement."""

    name: str
    bound: float
    more: bool
    measured: float

    @property
    def holds(self) -> bool:
        """Tell whether it is kept."""
        return self.measured >= self.bound if self.more else self.measured <= self.bound

    @property
    def wanted(self) -> str:
        """Say what is promised."""
        return f"{'>=' if self.more else '<='} {self.bound:g}"


def promises(found: Medians, once: Singles) -> list[Promise]:
    """Return every promised figure that was measured."""
    rows = [
        Promise(
            f"{server}, {windows} windows, c={c}, {figure}", bound, figure == "rate", found[server, windows, c][figure]
        )
        for server, windows, c, figure, bound in DEMANDS
    ]
    rows += [
        Promise(
            f"HDX packed to {name}, c={c}, rate",
            1.0,
            True,
            found["HDX packed", 1, c]["rate"] / found[name, 1, c]["rate"],
        )
        for name in BEATEN
        for c in (32, 64)
        if (name, 1, c) in found
    ]
    if diagnose := found.get((DIAGNOSE.name, 1, 1)):
        allowed = DETECTS * found[DUTIES.name, 1, 1]["p95_ms"] + ADVICE_MS
        ratio = diagnose["p95_ms"] / allowed
        rows.append(Promise(f"diagnose, p95 to {DETECTS}x detect's + {ADVICE_MS} ms", 1, False, ratio))
    rows += [
        Promise(name, bound, more, statistics.median(once[name])) for name, bound, more in SINGLES if once.get(name)
    ]
    return rows


HEAD = ("server", "windows", "c", "requests/s", "ratio", "p50 ms", "ratio", "p95", "p99", "failed", "CPU s/1000", "MB")


def rows_of(found: Medians) -> list[tuple[str, ...]]:
    """Return every cell in words, by windows and concurrency."""
    return [
        (
            server,
            str(windows),
            str(concurrency),
            f"{row['requests_s']:.0f}",
            f"{row['rate']:.2f}",
            f"{row['p50_ms']:.1f}",
            f"{row['latency']:.2f}",
            f"{row['p95_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['failed']:.0f}",
            f"{row['cpu_s']:.2f}",
            f"{row['memory_mb']:.0f}",
        )
        for (server, windows, concurrency), row in sorted(found.items(), key=lambda item: (item[0][1:], item[0][0]))
    ]


def promised_rows(promised: Sequence[Promise]) -> list[tuple[str, ...]]:
    """Return every promise in words."""
    return [(each.name, each.wanted, f"{each.measured:.4g}", "ok" if each.holds else "missed") for each in promised]


PROMISED_HEAD = ("figure", "demand", "measured", "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table for the terminal."""
    shown = Table(*head)
    for row in rows:
        shown.add_row(*row)
    return shown


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a document."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def write_docs(found: Medians, promised: Sequence[Promise]) -> None:
    """Put the figures between their marks in the document, and draw them."""
    put(PAGE, "promised", markdown(PROMISED_HEAD, promised_rows(promised)))
    put(PAGE, "cells", markdown(HEAD, rows_of(found)))
    draw(found)


def put(page: Path, mark: str, content: str) -> None:
    """Put content between its marks in a document."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(before + begin + content + "\n" + end + rest.partition(end)[2], encoding="utf-8")


def draw(found: Medians) -> None:
    """Draw throughput and latency against concurrency, a line a server."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, name, title in zip(axes, ("rate", "p50_ms"), ("requests/s, ratio to uvicorn", "p50, ms"), strict=True):
        for server in dict.fromkeys(kind[0] for kind in found):
            points = [(c, found[server, 1, c][name]) for c in CONCURRENCY if (server, 1, c) in found]
            axis.plot(*zip(*points, strict=True), marker="o", lw=2.5 if server.startswith("HDX") else 1, label=server)
        axis.set(
            xscale="log", yscale="log", xticks=CONCURRENCY, xticklabels=CONCURRENCY, xlabel="concurrency", title=title
        )
    axes[0].legend(fontsize=8)
    figure.savefig(PAGE.with_suffix(".svg"))


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "servers": {server.name: server.needs for server in PEERS},
    }


def trained() -> str:
    """Return the folder in which the quick form finds what it trained last time, empty where that is another code's."""
    read = sorted([*(ROOT / "pipelines").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml"), ROOT / "constraints.txt"])
    digest = sha256(b"".join(path.read_bytes() for path in read)).hexdigest()
    folder = ROOT / "var" / "quick"
    mark = folder / "sha256"
    if not mark.exists() or mark.read_text(encoding="utf-8") != digest:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(digest, encoding="utf-8")
    return str(folder)


def main() -> None:
    """Measure and print; the whole form writes tables and plots, the quick one fails on a ratio much worse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="HDX and the floor alone, few cells, in turns")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the whole form")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not on PATH: it sends the load (on Debian and Ubuntu: apt install wrk)")
    envs = ROOT / "var" / "bench"
    envs.mkdir(parents=True, exist_ok=True)
    with nullcontext(trained()) if asked.quick else TemporaryDirectory(prefix="hdx-bench-") as folder:
        bench = Bench(Path(folder), envs, QUICK if asked.quick else WHOLE, Load(Path(folder)))
        bench.quick() if asked.quick else bench.whole(asked.rounds)
    found, once = bench.load.cells, bench.once
    summary = medians(found)
    promised = promises(summary, once)
    console = Console(width=150)
    console.print(table(HEAD, rows_of(summary)), table(PROMISED_HEAD, promised_rows(promised)))
    if not asked.quick:
        figures = {each.name: round(each.measured, 4) for each in promised}
        content = {"machine": machine(), "promised": figures, "once": once, "cells": [asdict(cell) for cell in found]}
        KEPT.write_text(json.dumps(content) + "\n", encoding="utf-8")
        write_docs(summary, promised)
        return
    kept = json.loads(KEPT.read_text(encoding="utf-8"))["promised"]
    if worse := [each.name for each in promised if each.name in kept and much_worse(each, kept[each.name])]:
        sys.exit(f"more than {TOLERANCE:.0%} worse than kept in {KEPT.name}: {'; '.join(worse)}")


def much_worse(promise: Promise, kept: float) -> bool:
    """Tell whether a figure has become worse beyond the tolerance."""
    if promise.more:
        return promise.measured < kept * (1 - TOLERANCE)
    return promise.measured > kept * (1 + TOLERANCE)


if __name__ == "__main__":
    main()
