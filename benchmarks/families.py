"""`make bench-families`: a thousand models of single tenants behind one service.

What a tenant's own model costs, cold and warm, is a ratio to the shared models in the same minutes.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
from rich.console import Console

from benchmarks.speed import DETECT, ROOT, hdx, machine, markdown, put
from deployments.detector import OWN_MAX
from pipelines.datasets.simulator import simulate
from pipelines.detectors.members import registry
from serve_app.shared.credentials import digest, new_api_key
from serve_app.shared.registry_access import access_of, signer_of
from serve_app.store.repository import Store
from tests.serve.promotions import give, registry_of
from tests.serve.service import Service

KEPT = Path(__file__).with_name("families.json")
PAGE = ROOT / "docs" / "promotion.md"
TENANTS, SHARING = 250, 10  # of four own models each, and of none
WARM, ROUNDS, AT_ONCE, PATIENCE_S = 3, 40, 8, 120
COLD_P95_S, WARM_RATIO, GROWTH_RATIO = 2.0, 1.5, 1.1
HOLDERS = {"spread": "Detector-", "packed": "Gateway"}


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant's key and system."""

    tenant_id: int
    headers: dict[str, str]
    system_id: int


@dataclass
class Sender:
    """Sends windows, none twice, and says how long each took."""

    client: httpx.Client
    numbers: "count[int]" = field(default_factory=count)

    def send(self, caller: Caller) -> tuple[float, set[str]]:
        """Return milliseconds, and the versions that judged.

        Raises:
            httpx.HTTPStatusError: It was not answered.
        """
        window = simulate("healthy", 0.0, 5, next(self.numbers))
        values = {name: samples.tolist() for name, samples in window.values.items()}
        begun = time.perf_counter()
        body = {"system_id": caller.system_id, "sensor_data": values}
        answer = self.client.post(DETECT, json=body, headers=caller.headers).raise_for_status()
        taken = 1e3 * (time.perf_counter() - begun)
        return taken, {vote["version"] for vote in answer.json()["ml_predictions"]}

    def own(self, caller: Caller) -> float:
        """Do the same for a tenant with own models, and see that all four of them judged.

        Raises:
            RuntimeError: Another model judged, or one was missing.
        """
        taken, versions = self.send(caller)
        if versions != {f"t{caller.tenant_id}/1"}:
            raise RuntimeError(f"tenant {caller.tenant_id} was judged by {sorted(versions)}")
        return taken


async def people(url: str) -> list[Caller]:
    """Make tenants with a key and a system each."""
    store, callers = Store.open(url, 4), []
    try:
        for number in range(TENANTS + SHARING):
            tenant, key = await store.tenants.ensure(f"tenant{number}"), new_api_key()
            await store.keys.add(tenant, "line", "operator", digest(key))
            system = await store.systems.add(tenant, "press", "generic", "")
            callers.append(Caller(tenant, {"X-API-Key": key}, system.system_id))
    finally:
        await store.close()
    return callers


def memory(service: Service, placement: str) -> float:
    """Return megabytes of the replicas that hold models."""
    assert service.process is not None
    family = psutil.Process(service.process.pid).children(recursive=True)
    held: list[int] = [p.memory_info().rss for p in family if HOLDERS[placement] in " ".join(p.cmdline())]
    return sum(held) / 1e6


def wait_for(sender: Sender, caller: Caller) -> None:
    """Wait until the gateway's directory names a tenant's models.

    Raises:
        RuntimeError: It does not.
    """
    end = time.monotonic() + PATIENCE_S
    while not any("/" in version for version in sender.send(caller)[1]):
        if time.monotonic() > end:
            raise RuntimeError("own models are not followed")
        time.sleep(1)


def one_by_one(service: Service, placement: str, sender: Sender, callers: Sequence[Caller]) -> dict[str, Any]:
    """Send each tenant's first windows, and a shared one beside them."""
    owning, sharing = callers[:TENANTS], callers[TENANTS:]
    found: dict[str, list[float]] = {"shared": [], "cold": [], "warm": []}
    for caller in sharing:
        sender.send(caller)
    filled = 0.0
    for number, caller in enumerate(owning):
        found["cold"].append(sender.own(caller))
        found["warm"] += [sender.own(caller) for _ in range(WARM)]
        found["shared"] += [sender.send(sharing[number % SHARING])[0] for _ in range(WARM)]
        if number + 1 == OWN_MAX:
            filled = memory(service, placement)
    return {**found, "MB when full": filled, "MB at the end": memory(service, placement)}


def at_once(sender: Sender, callers: Sequence[Caller]) -> dict[str, list[float]]:
    """Send windows of several tenants at the same time, of those that are held, and of as many without own models."""
    owning, sharing = callers[TENANTS - AT_ONCE : TENANTS], callers[TENANTS : TENANTS + AT_ONCE]
    found: dict[str, list[float]] = {"warm": [], "shared": []}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(ROUNDS):
            found["warm"] += pool.map(sender.own, owning)
            found["shared"] += pool.map(lambda caller: sender.send(caller)[0], sharing)
    return found


def measure(placement: str, console: Console) -> dict[str, Any]:
    """Register the models in a service of its own, and measure."""
    with TemporaryDirectory(prefix="hdx-bench-") as folder, hdx(placement, Path(folder), {}) as (service, _):
        url = json.loads((service.home / "run.json").read_text(encoding="utf-8"))["database_url"]
        callers = asyncio.run(people(url))
        access, signer = access_of(service.settings), signer_of(service.settings)
        for detector in registry():
            give(access, signer, detector, "1", [caller.tenant_id for caller in callers[:TENANTS]])
            console.print(f"{placement}: {TENANTS} models of {detector} registered")
        begun = time.perf_counter()
        known = registry_of(service).owned()
        look_s = time.perf_counter() - begun
        with httpx.Client(base_url=service.base, timeout=60) as client:
            sender = Sender(client)
            wait_for(sender, callers[TENANTS - 1])  # it is cold again before its turn comes
            single = one_by_one(service, placement, sender, callers)
            together = at_once(sender, callers)
    models = sum(map(len, known.values()))
    return {"models": models, "look s": look_s, "one by one": single, "at once": together}


def cut(values: Sequence[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def rows_of(found: dict[str, Any]) -> list[tuple[str, float, float, float | None]]:
    """Return figure, value, ratio to the shared models' beside it, and the most that is allowed."""
    single, together = found["one by one"], found["at once"]
    rows: list[tuple[str, float, float, float | None]] = []
    for title, kind, part in (
        ("shared", "shared", single),
        ("own, cold", "cold", single),
        ("own, warm", "warm", single),
        (f"shared, {AT_ONCE} tenants at once", "shared", together),
        (f"own, warm, {AT_ONCE} tenants at once", "warm", together),
    ):
        for percent in (50, 95):
            value, base = cut(part[kind], percent), cut(part["shared"], percent)
            rows.append((f"{title}, p{percent}, ms", value, value / base, limit_of(title, percent)))
    full, end = single["MB when full"], single["MB at the end"]
    rows.append((f"memory of the replicas, {OWN_MAX} tenants, MB", full, 1, None))
    rows.append((f"memory of the replicas, {TENANTS} tenants, MB", end, end / full, GROWTH_RATIO))
    return rows


def limit_of(title: str, percent: int) -> float | None:
    """Return the most that a ratio may be."""
    return WARM_RATIO if title == "own, warm" and percent == 50 else None


def main() -> None:
    """Measure both placements, or those named, write the page, and fail on a figure that misses its demand."""
    console = Console()
    kept = json.loads(KEPT.read_text(encoding="utf-8"))["figures"] if KEPT.exists() else {}
    found = kept | {placement: measure(placement, console) for placement in sys.argv[1:] or ["spread", "packed"]}
    KEPT.write_text(json.dumps({"machine": machine(), "figures": found}) + "\n", encoding="utf-8")
    texts, fine = [], True
    for placement, figures in found.items():
        rows = rows_of(figures)
        fine = fine and all(most is None or ratio <= most for _, _, ratio, most in rows)
        fine = fine and cut(figures["one by one"]["cold"], 95) <= 1e3 * COLD_P95_S
        shown = [
            [name, f"{value:.4g}", f"{ratio:.2f}", f"<= {most:g}" if most else ""] for name, value, ratio, most in rows
        ]
        look = f"the directory is read in {figures['look s']:.1f} s"
        head = f"Placement `{placement}`, {figures['models']} own models; {look}:"
        texts.append(f"{head}\n\n" + markdown(["figure", "value", "ratio", "demand"], shown))
    put(PAGE, "families", "\n\n".join(texts))
    console.print("\n\n".join(texts))
    sys.exit(not fine)


if __name__ == "__main__":
    main()
