"""`make bench-definitions`: a thousand families of a hundred tenants behind one service, and one that changes.

What families cost is a ratio to the same service without them; a family is changed again and again while its windows
are judged, and every answer that was given meanwhile is given again.
"""

import asyncio
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from benchmarks.families import Caller, memory
from benchmarks.speed import DETECT, ROOT, Singles, hdx, markdown, put
from configs.settings import Limits
from pipelines.machines.commissioning import NEEDED
from pipelines.machines.definition import Definition
from serve_app.api.schemas.families import EXAMPLE
from serve_app.families import as_kept
from serve_app.shared.credentials import digest, new_api_key
from serve_app.store.repository import Store
from tests.serve.service import Service

PAGE = ROOT / "docs" / "capacity.md"
TENANTS, FAMILIES = 100, 10
SENDERS, CHANGES, BETWEEN_S = 4, 20, 1.0
REPLAYED = 400
# Source of both: own choice; what is not used goes, and nothing is read at a start, so that only noise is left.
GROWTH_MB, START_RATIO = 10, 1.15
SAMPLES = 60
LEVELS = {"pressure": 180.0, "oil temperature": 55.0, "motor current": 41.0}


def window(seed: int) -> dict[str, list[float]]:
    """Return a minute of a healthy press."""
    noise = np.random.default_rng(seed)
    return {name: (level * (1 + 0.01 * noise.standard_normal(SAMPLES))).tolist() for name, level in LEVELS.items()}


async def owners(url: str) -> list[Caller]:
    """Make tenants with a key, families of their own, and a system of each."""
    store, callers = Store.open(url, 4), []
    definition = as_kept(Definition.model_validate(EXAMPLE), Limits())
    try:
        for number in range(TENANTS):
            tenant, key = await store.tenants.ensure(f"owner{number}"), new_api_key()
            await store.keys.add(tenant, "line", "engineer", digest(key))
            for place in range(FAMILIES):
                await store.families.add(tenant, f"press-{place}", definition, "line")
                system = await store.systems.add(tenant, f"press {place}", f"press-{place}", "")
                callers.append(Caller(tenant, {"X-API-Key": key}, system.system_id))
    finally:
        await store.close()
    return callers


def judge(client: httpx.Client, caller: Caller, seed: int) -> httpx.Response:
    """Send a window."""
    body = {"system_id": caller.system_id, "sensor_data": window(seed)}
    return client.post(DETECT, json=body, headers=caller.headers)


def timed(client: httpx.Client, callers: Sequence[Caller], seed: int) -> list[float]:
    """Send a window of each system, and return milliseconds."""
    taken = []
    for caller in callers:
        begun = time.perf_counter()
        judge(client, caller, seed).raise_for_status()
        taken.append(1e3 * (time.perf_counter() - begun))
    return taken


def version(number: int) -> dict[str, Any]:
    """Return a definition: each is another one."""
    channels: dict[str, Any] = {**EXAMPLE["channels"]}
    channels["pressure"] = {"unit": "bar", "typical": 180, "high": 400 + number, "spread": 1.0 + number % 2}
    return EXAMPLE | {"title": f"Deep-drawing press {number}", "channels": channels}


def changed(client: httpx.Client, caller: Caller) -> dict[str, Any]:
    """Change a family again and again while several send windows of it, and give the answers again."""
    for seed in range(NEEDED):
        judge(client, caller, seed).raise_for_status()
    ended = threading.Event()

    def send(sender: int) -> list[httpx.Response]:
        replies, seed = [], 1000 * (sender + 1)
        while not ended.is_set():
            replies.append(judge(client, caller, seed := seed + 1))
        return replies

    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(send, number) for number in range(SENDERS)]
        done = []
        for number in range(CHANGES):
            done.append(client.put("/api/families/press-0/", json=version(number), headers=caller.headers))
            time.sleep(BETWEEN_S)
        ended.set()
        replies = [reply for each in sending for reply in each.result()]
    given = [reply.json()["trace_id"] for reply in replies if reply.status_code == httpx.codes.OK]
    again = given[:: max(1, len(given) // REPLAYED)]
    said = [client.post(f"/api/diagnostics/{trace}/replay/", headers=caller.headers).json() for trace in again]
    return {
        "changes": sum(reply.status_code == httpx.codes.OK for reply in done),
        "answers": len(replies),
        "failed": len(replies) - len(given),
        "replayed": len(said),
        "apart": sum(reply.get("identical") is not True for reply in said),
    }


@contextmanager
def client_of(service: Service) -> Iterator[httpx.Client]:
    """Return a client of a service."""
    with httpx.Client(base_url=service.base, timeout=60) as client:
        yield client


def measure() -> dict[str, Any]:
    """Measure one service before it has any families, and with all of them."""
    starts: Singles = {}
    found: dict[str, Any] = {}
    with TemporaryDirectory(prefix="hdx-bench-") as name:
        folder = Path(name)
        with hdx("packed", folder, starts):
            pass  # the first start trains
        with hdx("packed", folder, starts) as (service, _), client_of(service) as client:
            url = json.loads((service.home / "run.json").read_text(encoding="utf-8"))["database_url"]
            callers = asyncio.run(owners(url))
            timed(client, callers[:1] * NEEDED, 0)
            found["MB before"] = memory(service, "packed")
            found["one, ms"] = timed(client, callers[1:2] * 200, 1)
            found["first, ms"] = timed(client, callers, 2)
            found["MB first"] = memory(service, "packed")
            found["again, ms"] = timed(client, callers, 3)
            found["MB again"] = memory(service, "packed")
            found |= changed(client, callers[0])
        with hdx("packed", folder, starts) as (service, _), client_of(service) as client:
            timed(client, callers[:5], 4)
    found["start without, s"], found["start with, s"] = next(iter(starts.values()))
    return found


def rows_of(found: dict[str, Any]) -> list[tuple[str, str, float, bool]]:
    """Return figure, demand, value, and whether it meets the demand."""
    one = statistics.median(found["one, ms"])
    first, again = (statistics.median(found[name]) / one for name in ("first, ms", "again, ms"))
    start = found["start with, s"] / found["start without, s"]
    grown, changes = found["MB again"] - found["MB first"], found["changes"]
    return [
        ("families, systems of them", "", TENANTS * FAMILIES, True),
        ("memory of the gateway before, MB", "", found["MB before"], True),
        ("what all of them add, each judged once, MB", "", found["MB first"] - found["MB before"], True),
        ("what the same again adds, MB", f"<= {GROWTH_MB}", grown, grown <= GROWTH_MB),
        ("a family's first window to one of a family in use, ratio of p50", "", first, True),
        ("the same again", "", again, True),
        ("a start with them to one without, ratio", f"<= {START_RATIO}", start, start <= START_RATIO),
        ("changes of a family while its windows are judged", f"{CHANGES}", changes, changes == CHANGES),
        ("answers meanwhile", "", found["answers"], True),
        ("failed", "0", found["failed"], found["failed"] == 0),
        ("given again", "", found["replayed"], True),
        ("other than before", "0", found["apart"], found["apart"] == 0),
    ]


def main() -> None:
    """Measure, write the page, and fail on a figure that misses its demand."""
    rows = rows_of(measure())
    shown = [[name, demand, f"{value:,.4g}", "" if fine else "MISSED"] for name, demand, value, fine in rows]
    text = markdown(["figure", "demand", "measured", ""], shown)
    put(PAGE, "definitions", text)
    print(text)
    sys.exit(not all(fine for *_, fine in rows))


if __name__ == "__main__":
    main()
