"""`make bench-growth`: how cost grows with replicas, systems, tenants, families and passages.

Each measurement is a ratio to its curve's first point; the arithmetic of docs/capacity.md starts from them.
"""

import asyncio
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import psutil
from matplotlib import pyplot as plt
from pydantic import SecretStr
from rich.console import Console

from benchmarks.speed import DUTIES, HDX, KEY, ROOT, Load, hdx, login, machine, markdown, parts_of, put, save_models
from configs.settings import Limits, Settings
from pipelines.detectors.bundle import unpack
from pipelines.detectors.members import registry
from pipelines.knowledge.records import Made, Passage, Question
from pipelines.knowledge.search.index import BUILT_IN, Index
from pipelines.machines.family import read_family
from pipelines.signals.channels import read_window
from pipelines.signals.reading import make_feature_table
from serve_app.local.cluster import DETECTOR, Dashboard, read_config
from serve_app.shared.credentials import hash_password
from serve_app.store.repository import Store
from tests.serve.service import Service

KEPT = Path(__file__).with_name("growth.json")
PAGE = ROOT / "docs" / "capacity.md"
ROUNDS, CONCURRENCY = 3, 32
# Three of each detector are what the logical CPUs of two cores hold.
REPLICAS, SYSTEMS, TENANTS = (1, 2, 3), (1, 10, 100, 1000), (1, 10, 100)
FAMILIES, PASSAGES = (1, 10, 100), (1_000, 10_000, 50_000)
PASSWORD = "growth-password-1"  # noqa: S105 (of tenants that live as long as the benchmark)
START_S = 180
SEARCHES, VOTES, DIMS, WORDS = 50, 200, 384, 2_000


@dataclass(frozen=True, slots=True)
class Point:
    """One figure of one curve in one round."""

    curve: str
    size: int
    round: int
    figure: str
    value: float


def answered(load: Load, url: str, bodies: Path, headers: dict[str, str], concurrency: int) -> dict[str, float]:
    """Load one route; return requests a second and the median's milliseconds.

    Raises:
        RuntimeError: A request failed.
    """
    found = load.send(url, bodies, headers, concurrency)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']:.0f} requests failed at {url}")
    return {"requests/s": found["requests"] / found["seconds"], "p50 ms": found["p50_ms"]}


def resize(service: Service, prefix: str, size: int) -> None:
    """Give every deployment whose name begins so a fixed number of replicas, and wait until they serve."""
    names = service.environment
    settings = Settings(
        port=int(names["HDX_PORT"]),
        dashboard_port=int(names["HDX_DASHBOARD_PORT"]),
        ray_auth_token=SecretStr(service.secret("HDX_RAY_AUTH_TOKEN")),
    )
    config = read_config(settings)
    parts = config["applications"][0]["deployments"]
    for part in parts:
        many = size if part["name"].startswith(prefix) else 1
        part["autoscaling_config"] = part["autoscaling_config"] | {"min_replicas": many, "max_replicas": many}
    board = Dashboard(settings)
    board.deploy(config)
    wanted = sum(part["autoscaling_config"]["min_replicas"] for part in parts)
    end = time.monotonic() + START_S
    while running(board) != wanted:
        if time.monotonic() > end:
            raise RuntimeError(f"{running(board)} of {wanted} replicas run")
        time.sleep(1)


def running(board: Dashboard) -> int:
    """Return how many replicas there are, or -1 while one is not running."""
    found = [
        replica["state"]
        for application in board.applications().values()
        for deployment in application["deployments"].values()
        for replica in deployment["replicas"]
    ]
    return len(found) if set(found) == {"RUNNING"} else -1


def by_replicas(service: Service, load: Load) -> Iterator[tuple[str, int, dict[str, float]]]:
    """More replicas of each detector, on the same cores."""
    server, key = HDX["HDX spread"], {"X-Internal-API-Key": KEY}
    for size in REPLICAS:
        resize(service, DETECTOR, size)
        yield (
            "replicas of each detector",
            size,
            answered(load, service.base + server.path, load.bodies(server, 1), key, CONCURRENCY),
        )
    resize(service, DETECTOR, 1)


def by_systems(
    service: Service, load: Load, folder: Path, systems: Sequence[int]
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """The same load over more systems of one tenant, all duties on."""
    windows = [part[0] for part in parts_of(1)]
    for size in SYSTEMS:
        path = folder / f"systems-{size}.jsonl"
        if not path.exists():
            bodies = [own_body(windows[n % len(windows)], systems[n % size]) for n in range(max(size, len(windows)))]
            path.write_text("\n".join(bodies) + "\n", encoding="utf-8")
        yield "systems", size, answered(load, service.base + DUTIES.path, path, login(service), CONCURRENCY)


def by_tenants(
    service: Service, load: Load, folder: Path, callers: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """The same load from more tenants, a system and a user each, all duties on."""
    windows = [part[0] for part in parts_of(1)]
    for size in TENANTS:
        path = folder / f"tenants-{size}.jsonl"
        if not path.exists():
            lines = []
            for number in range(max(size, len(windows))):
                token, system = callers[number % size]
                lines.append(f"Authorization: Bearer {token}\t{own_body(windows[number % len(windows)], system)}")
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield "tenants", size, answered(load, service.base + DUTIES.path, path, {}, CONCURRENCY)


def own_body(window: dict[str, object], system: int) -> str:
    """Return the body of one window of one system."""
    return json.dumps(DUTIES.wrap([window]) | {"system_id": system})


async def people(url: str) -> tuple[list[int], list[tuple[str, int]]]:
    """Make systems of the first tenant, and further tenants with a user and a system each.

    Returns:
        The systems' ids, and each user's name with its system's id.
    """
    store = Store.open(url, 4)
    password = hash_password(PASSWORD)
    try:
        tenant = await store.tenants.ensure("demo")
        systems = [(await store.systems.add(tenant, f"s{n}", "generic", "")).system_id for n in range(max(SYSTEMS))]
        users = []
        for number in range(max(TENANTS)):
            name = f"tenant{number}"
            other = await store.tenants.ensure(name)
            await store.accounts.add(other, name, f"{name}@example.com", password, "operator")
            users.append((name, (await store.systems.add(other, "s", "generic", "")).system_id))
        return systems, users
    finally:
        await store.close()


def token_of(service: Service, name: str) -> str:
    """Log a user in."""
    body = {"username": name, "password": PASSWORD}
    answer = httpx.post(f"{service.base}/api/auth/login/", json=body, timeout=30)
    return str(answer.raise_for_status().json()["access"])


def by_families(models: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    """More families held by one process: each has four members of its own."""
    for size in FAMILIES:
        # A process of its own: what one size left in memory would hide what the next one takes.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            yield "families in memory", size, fresh.submit(hold_families, models, size).result()


def hold_families(models: Path, size: int) -> dict[str, float]:
    """Return what it takes to hold the models of some families, and to vote with one after the other of them."""
    family = read_family("generic")
    window = {name: values for name, values in parts_of(1)[0][0].items() if name != "system_id"}
    table = make_feature_table([read_window(window, None, family, Limits())], [None], family)
    files = [{p.name: p.read_bytes() for p in (models / name).iterdir()} for name in registry()]
    for part in files:
        unpack(part)  # the libraries are loaded by the first one
    before = psutil.Process().memory_info().rss
    held = [[unpack(part) for part in files] for _ in range(size)]
    memory = (psutil.Process().memory_info().rss - before) / 1e6
    taken = timed(lambda number: [member.votes(table) for member in held[number % size]], VOTES)
    return {"ms": taken, "MB": memory}


def timed(call: Callable[[int], object], times: int) -> float:
    """Return the median's milliseconds of a call that is told its number."""
    call(0)
    found = []
    for number in range(times):
        begun = time.perf_counter()
        call(number)
        found.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(found)


def by_passages(folder: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    """More passages in the index: made-up texts of a few hundred words, random vectors."""
    random = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(WORDS)]
    popular = 1 / np.arange(1, WORDS + 1)  # words are as unevenly spread as in a language

    def draw(count: int) -> str:
        return " ".join(random.choice(vocabulary, count, p=popular / popular.sum()))

    index, stored = Index.open(folder, multilingual=False), 0
    for size in PASSAGES:
        while stored < size:
            numbers = range(stored, min(stored + 2_000, size))
            texts = [draw(80) for _ in numbers]
            made = [
                Passage(f"p{n}", f"d{stored}", "t", "en", 1, 0, len(text), "", text)
                for n, text in zip(numbers, texts, strict=True)
            ]
            index.add(
                BUILT_IN, made, random.normal(size=(len(made), DIMS)).astype(np.float32), "", Made("made-up", DIMS)
            )
            stored += len(made)
        index.optimise(BUILT_IN)
        questions = [Question(draw(6), "en", 5, random.normal(size=DIMS)) for _ in range(SEARCHES)]
        taken = timed(partial(search, index, questions), SEARCHES)
        yield "passages", size, {"ms": taken}


def search(index: Index, questions: Sequence[Question], number: int) -> object:
    """Search for one question after the other."""
    return index.search(BUILT_IN, questions[number % len(questions)])


def run(folder: Path, console: Console) -> list[Point]:
    """Measure every curve in interleaved rounds."""
    load, models = Load(folder), folder / "models"
    points: list[Point] = []

    def keep(number: int, curve: Iterator[tuple[str, int, dict[str, float]]]) -> None:
        for name, size, figures in curve:
            console.print(f"round {number + 1}: {name} {size}: {figures}")
            points.extend(Point(name, size, number, figure, value) for figure, value in figures.items())

    with hdx("spread", folder, {}) as (service, _):
        save_models(service, models)
        url = json.loads((service.home / "run.json").read_text(encoding="utf-8"))["database_url"]
        systems, users = asyncio.run(people(url))
        callers = [(token_of(service, name), system) for name, system in users]
        for number in range(ROUNDS):
            keep(number, by_systems(service, load, folder, systems))
            keep(number, by_tenants(service, load, folder, callers))
            keep(number, by_replicas(service, load))
    for number in range(ROUNDS):
        keep(number, by_families(models))
        keep(number, by_passages(folder / f"passages-{number}"))
    return points


def rows_of(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """Return each figure's median, and its median ratio to the curve's first point of the same round."""
    first: dict[tuple[str, str, int], float] = {}
    grouped: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for point in points:
        start = first.setdefault((point.curve, point.figure, point.round), point.value)
        grouped.setdefault((point.curve, point.figure, point.size), []).append((point.value, point.value / start))
    return [
        (
            curve,
            f"{size:,}",
            figure,
            f"{statistics.median(v for v, _ in found):.4g}",
            f"{statistics.median(r for _, r in found):.2f}",
        )
        for (curve, figure, size), found in grouped.items()
    ]


def draw(rows: Sequence[tuple[str, ...]]) -> None:
    """Draw each figure's ratio against size, a line a curve."""
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name in dict.fromkeys((curve, figure) for curve, _, figure, _, _ in rows):
        line = [
            (int(size.replace(",", "")), float(ratio)) for curve, size, what, _, ratio in rows if (curve, what) == name
        ]
        axis.plot(*zip(*line, strict=True), marker="o", label=", ".join(name))
    axis.set(xscale="log", yscale="log", xlabel="size", title="ratio to the curve's first point")
    axis.legend(fontsize=7)
    figure.savefig(PAGE.with_suffix(".svg"))


def main() -> None:
    """Measure, keep, and write the document."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not on PATH: it sends the load (on Debian and Ubuntu: apt install wrk)")
    with TemporaryDirectory(prefix="hdx-bench-") as folder:
        points = run(Path(folder), Console(stderr=True))
    content = {"machine": machine(), "points": [asdict(point) for point in points]}
    KEPT.write_text(json.dumps(content) + "\n", encoding="utf-8")
    rows = rows_of(points)
    put(PAGE, "growth", markdown(("curve", "size", "figure", "median", "ratio to the first"), rows))
    draw(rows)


if __name__ == "__main__":
    main()
