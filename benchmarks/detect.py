"""What detect and ask cost on a running service, as ratios to its own empty route.

One run, interleaved rounds and medians, so that a figure means something on a noisy machine.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.serve.service import ADMIN_PASSWORD, Service

ROUNDS = 5
REQUESTS = 100
WINDOW = {
    "pressure": [100.5, 101.2, 99.8, 100.1, 100.3],
    "temperature": [45.3, 45.1, 45.5, 45.2, 45.4],
    "flow": [25.0, 24.8, 25.2, 25.1, 24.9],
    "vibration": [0.5, 0.6, 0.5, 0.5, 0.6],
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one case."""

    requests_s: float
    p50_ms: float
    p99_ms: float
    failures: int


Call = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


def live(client: httpx.AsyncClient, _number: int) -> Awaitable[httpx.Response]:
    """Ask for nothing: the cost of HTTP, proxy and replica."""
    return client.get("/health/live")


def detect(client: httpx.AsyncClient, number: int) -> Awaitable[httpx.Response]:
    """Send a window that no cache has seen."""
    pressure = [value + 1e-6 * (number % 10_000 + time.perf_counter() % 1) for value in WINDOW["pressure"]]
    body = {"system_id": 1, "sensor_data": WINDOW | {"pressure": pressure}}
    return client.post("/api/diagnostics/anomaly/detect/", json=body)


def ask(client: httpx.AsyncClient, _number: int) -> Awaitable[httpx.Response]:
    """Ask the quickstart's question."""
    return client.post("/api/rag/query/", json={"query": "How to fix hydraulic pressure drop?"})


CASES: dict[str, Call] = {"live": live, "detect": detect, "ask": ask}


async def measure(client: httpx.AsyncClient, call: Call, requests: int, concurrency: int) -> Sample:
    """Send a bounded number of requests, so many at a time."""
    numbers, times, failures = iter(range(requests)), [], 0

    async def worker() -> None:
        nonlocal failures
        for number in numbers:
            begun = time.perf_counter()
            answer = await call(client, number)
            times.append(1e3 * (time.perf_counter() - begun))
            failures += not answer.is_success

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    spent = time.perf_counter() - begun
    cuts = statistics.quantiles(times, n=100)
    return Sample(requests / spent, cuts[49], cuts[98], failures)


async def measure_all(base: str, username: str, password: str) -> Table:
    """Interleave all cases over the rounds, and set each against the empty route of the same concurrency."""
    samples: dict[tuple[str, int], list[Sample]] = {}
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        login = await client.post("/api/auth/login/", json={"username": username, "password": password})
        client.headers["Authorization"] = f"Bearer {login.raise_for_status().json()['access']}"
        for _ in track(range(ROUNDS), "rounds", console=Console(stderr=True)):
            for concurrency in (1, 8, 32):
                for name, call in CASES.items():
                    sample = await measure(client, call, REQUESTS, concurrency)
                    samples.setdefault((name, concurrency), []).append(sample)
    table = Table("case", "c", "requests/s", "ratio to live", "p50 ms", "p99 ms", "failures")
    for (name, concurrency), rounds in samples.items():
        floor = statistics.median(sample.requests_s for sample in samples["live", concurrency])
        rate = statistics.median(sample.requests_s for sample in rounds)
        p50, p99 = (statistics.median(getattr(s, field) for s in rounds) for field in ("p50_ms", "p99_ms"))
        row = (f"{rate:.0f}", f"{rate / floor:.2f}", f"{p50:.1f}", f"{p99:.1f}", str(sum(s.failures for s in rounds)))
        table.add_row(name, str(concurrency), *row)
    return table


def main() -> None:
    """Start a service of its own in a temporary folder, and measure it."""
    with TemporaryDirectory(prefix="hdx-bench-") as folder:
        service = Service(Path(folder)).start()
        try:
            table = asyncio.run(measure_all(service.base, "admin", ADMIN_PASSWORD))
        finally:
            service.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
