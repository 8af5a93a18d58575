"""`make bench-watching`: how many windows a second are judged from readings, and whether live systems are kept up with.

The service is started as the README says, with every part it has; machines send the readings of each window when it is
over, while others ask for verdicts of their own.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import psutil
from rich.console import Console

from benchmarks.readings import HEAD, missed
from benchmarks.speed import ROOT, markdown, put
from pipelines.datasets.simulator import HEALTHY, simulate
from pipelines.machines.family import read_family
from tests.serve.service import Service

PAGE = ROOT / "docs" / "capacity.md"
FAMILY = read_family("generic")
WINDOW_S = int(FAMILY.window_s)
LEVELS = {name: channel.typical for name, channel in FAMILY.channels.items()}
# Systems and windows of history each, whose time is taken; detects a second beside the live ones.
PAST_SYSTEMS, PAST_WINDOWS, DETECTS = 20, 60, 50
SEEDS = 100  # different windows that are sent
# A window is late when it is judged a window's length after the last of its readings was sent. Source: own choice.
LAG_S = float(WINDOW_S)


@dataclass
class Seen:
    """What came of requests: seconds each, and failures by what was said."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@cache
def values_of(seconds: int, seed: int) -> list[dict[str, float]]:
    """Return what a healthy machine reads in consecutive seconds."""
    values = simulate(HEALTHY, 0.0, seconds, seed, LEVELS).values
    return [{name: float(samples[number]) for name, samples in values.items()} for number in range(seconds)]


def rows_of(begin: datetime, seconds: int, seed: int) -> list[dict[str, Any]]:
    """Return readings of a healthy machine, one a second after a moment."""
    return [
        {"at": (begin + timedelta(seconds=number)).isoformat()} | values
        for number, values in enumerate(values_of(seconds, seed), 1)
    ]


def now_at_window() -> datetime:
    """Return when the present window began."""
    now = int(time.time())
    return datetime.fromtimestamp(now - now % WINDOW_S, UTC)


async def every(step_s: float, until: float, offset_s: float, do: Callable[[int], Awaitable[None]]) -> None:
    """Do something at a fixed pace, whether or not it is done with the time before."""
    begun, number, running = time.monotonic() + offset_s, 0, set[asyncio.Task[None]]()
    while (at := begun + number * step_s) < until:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        task = asyncio.ensure_future(do(number))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    await asyncio.gather(*running)


async def timed(client: httpx.AsyncClient, seen: Seen, path: str, body: Any) -> None:
    """Send a request and keep what came of it."""
    begun = time.perf_counter()
    try:
        answer = await client.post(path, json=body)
        if answer.is_success:
            seen.seconds.append(time.perf_counter() - begun)
        else:
            seen.failed.append(f"{answer.status_code}: {answer.text}")
    except httpx.TransportError as error:
        seen.failed.append(type(error).__name__)


async def made(client: httpx.AsyncClient, count: int) -> list[int]:
    """Make systems, and return their numbers."""
    found = []
    for number in range(count):
        answer = await client.post("/api/systems/", json={"name": f"press {number}", "family": "generic"})
        found.append(int(answer.raise_for_status().json()["system_id"]))
    return found


async def lags(client: httpx.AsyncClient, systems: Sequence[int]) -> list[float]:
    """Return how many seconds ago the last window ended that is judged, of each system."""
    found = []
    for system_id in systems:
        shown = (await client.get(f"/api/systems/{system_id}/")).raise_for_status().json()
        if shown["watched_until"]:
            found.append((datetime.now(UTC) - datetime.fromisoformat(shown["watched_until"])).total_seconds())
    return found


async def past(client: httpx.AsyncClient) -> float:
    """Return the windows a second that are judged of history, with nothing else to do."""
    systems = await made(client, PAST_SYSTEMS)
    begin = now_at_window() - timedelta(hours=2)
    end = begin + timedelta(seconds=PAST_WINDOWS * WINDOW_S)
    bodies = [{"readings": rows_of(begin, PAST_WINDOWS * WINDOW_S, system_id)} for system_id in systems]
    begun = time.perf_counter()
    await asyncio.gather(
        *(timed(client, Seen(), f"/api/systems/{n}/readings/", each) for n, each in zip(systems, bodies, strict=True))
    )
    for system_id in systems:
        path = f"/api/systems/{system_id}/"
        while (await client.get(path)).json()["watched_until"] != end.isoformat():  # noqa: ASYNC110 (another process's)
            await asyncio.sleep(0.2)
    return PAST_SYSTEMS * PAST_WINDOWS / (time.perf_counter() - begun)


async def live(client: httpx.AsyncClient, count: int, seconds: float) -> dict[str, float]:
    """Let systems send their readings, others ask for verdicts beside them, and return how far watching was behind."""
    systems = await made(client, count)
    other = (await made(client, 1))[0]
    window = {name: samples.tolist() for name, samples in simulate(HEALTHY, 0.0, 60, 1, LEVELS).values.items()}
    sent, asked, behind, held = Seen(), Seen(), list[float](), list[float]()
    until = time.monotonic() + seconds

    async def send(place: int, number: int) -> None:
        system_id = systems[place]
        body = {"readings": rows_of(now_at_window() - timedelta(seconds=WINDOW_S), WINDOW_S, (place + number) % SEEDS)}
        await timed(client, sent, f"/api/systems/{system_id}/readings/", body)

    async def detect(number: int) -> None:
        body = {"system_id": other, "sensor_data": window}
        await timed(client, asked, "/api/diagnostics/anomaly/detect/", body)

    async def look(number: int) -> None:
        if time.monotonic() > until - seconds / 2:  # once all have begun
            behind.extend(await lags(client, systems[number % 10 :: 10]))
            held.append(resident())

    machines = [every(WINDOW_S, until, place * WINDOW_S / count, partial(send, place)) for place in range(count)]
    await asyncio.gather(*machines, every(1 / DETECTS, until, 0, detect), every(2, until, 0, look))
    if wrong := [each for each in sent.failed + asked.failed if each.startswith("4")]:
        raise RuntimeError(wrong[0])
    return {
        "windows/s sent": count / WINDOW_S,
        "readings taken, share": 1 - len(sent.failed) / max(1, len(sent.failed) + len(sent.seconds)),
        "behind the last window's end, median s": float(np.median(behind)),
        "the same, p95 s": float(np.quantile(behind, 0.95)),
        "detects/s answered": len(asked.seconds) / seconds,
        "detect p95, ms": 1e3 * float(np.quantile(asked.seconds, 0.95)),
        "detects failed": float(len(asked.failed)),
        "memory of the gateway and the worker, MB": held[0],
        "the same, at the end": held[-1],
    }


def resident() -> float:
    """Return the megabytes that gateways and workers hold."""
    names, total = ("ServeReplica:hdx:Gateway", "ServeReplica:hdx:Worker"), 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(name in process.name() for name in names):
                total += process.memory_info().rss
    return total / 1e6


def log_in(service: Service, client: httpx.AsyncClient) -> None:
    """Give a client an access token; one lives for ten minutes, and a measurement for longer."""
    with service.client() as known:
        client.headers["Authorization"] = known.headers["Authorization"]


async def measured(service: Service, systems: Sequence[int], seconds: float) -> list[list[str]]:
    """Return a row for each figure."""
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with httpx.AsyncClient(base_url=service.base, timeout=60, limits=limits) as client:
        log_in(service, client)
        rate = await past(client)
        rows = [["history, windows judged a second", "", f"{rate:.1f}", ""]]
        for count in systems:
            log_in(service, client)
            found = await live(client, count, seconds)
            rows += [[f"{count} systems: {name}", "", f"{value:.4g}", ""] for name, value in found.items()]
            keeps_up = found["the same, p95 s"] <= 2 * WINDOW_S + LAG_S
            rows.append(
                [
                    f"{count} systems at a window every {WINDOW_S} s, kept up with",
                    "yes",
                    "yes" if keeps_up else "no",
                    missed(keeps_up),
                ]
            )
    return rows


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--seconds", type=float, default=90)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), {"HDX_MODELS__SIMULATED_MACHINES": "24"}).start()
        try:
            rows = asyncio.run(measured(service, given.systems, given.seconds))
        finally:
            service.stop()
    Console().print(markdown(HEAD, rows))
    put(PAGE, "watching", markdown(HEAD, rows))


if __name__ == "__main__":
    main()
