"""In service tests: the application over a real store and a real ensemble, and a stranger who knows REST alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from fastapi import FastAPI
from fastapi.testclient import TestClient

from deployments.ensemble import Ensemble
from pipelines.detectors.adaptive import Adaptive
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from serve_app.api.app import create_app
from serve_app.api.ports import Services
from serve_app.shared.credentials import digest
from serve_app.store.repository import Store
from tests.contract.stand_ins import make_bench

Json = dict[str, Any]
# Share of a channel's samples that a window may lack. Source: what families allow.
MISSING = 0.2
POINTS = 5000


class EnsembleHere:
    """Judges windows of families on which nobody has trained, as the graph does."""

    def __init__(self) -> None:
        nobody = cast(Any, SimpleNamespace(vote=None, members=None))
        self._ensemble = Ensemble({Adaptive.name: nobody}, 1, 1.0)

    async def diagnose(self, inspection: Inspection) -> Judgement:
        (found,) = await self._ensemble.diagnose([inspection])
        if isinstance(found, Exception):
            raise found
        return found

    async def members(self) -> Sequence[MemberStatus]:
        return []


def services_of(store: Store, home: Path) -> Services:
    """Return a real ensemble over a real store."""
    return replace(make_bench(home).services, store=store, diagnoser=EnsembleHere())


def application(url: str, home: Path) -> FastAPI:
    """Return the application over them."""
    return create_app(services_of(Store.open(url, 4), home))


async def new_key(store: Store, role: str = "admin") -> str:
    """Make a tenant; return a key of it."""
    key = f"hdx_{uuid4().hex}"
    tenant_id = await store.tenants.ensure(uuid4().hex)
    await store.keys.add(tenant_id, "of a stranger", cast(Any, role), digest(key))
    return key


@dataclass
class Stranger:
    """Somebody who has a file and an address."""

    client: TestClient
    key: str

    def ask(self, method: str, path: str, **given: Any) -> Any:
        """Return the answer to a request that is taken."""
        headers = {"x-api-key": self.key} | given.pop("headers", {})
        reply = self.client.request(method, path, headers=headers, **given)
        assert reply.status_code < 300, reply.text
        return reply.json()

    def send(self, path: str, content: bytes, content_type: str, **params: Any) -> Any:
        """Send a file."""
        given = {name: value for name, value in params.items() if value}
        return self.ask("POST", path, content=content, headers={"content-type": content_type}, params=given)

    def window(self, system_id: int, begin: datetime, seconds: float, rate_hz: float) -> Mapping[str, list[Any]]:
        """Return what a system's stored readings show of a span, a sample a step: null where there is none."""
        end = begin + timedelta(seconds=seconds)
        span = {"from": begin.isoformat(), "to": end.isoformat(), "points": POINTS}
        count, found = round(seconds * rate_hz), {}
        for each in self.ask("GET", f"/api/systems/{system_id}/readings/", params=span)["channels"]:
            samples: list[float | None] = [None] * count
            for at, value in zip(each["at"], each["values"], strict=True):
                place = int((datetime.fromisoformat(at) - begin).total_seconds() * rate_hz)
                samples[min(place, count - 1)] = value
            if samples.count(None) <= MISSING * count:
                found[each["channel"]] = samples
        return found

    def judged(
        self, system_id: int, begin: datetime, end: datetime, seconds: float, rate_hz: float
    ) -> Iterator[tuple[datetime, Json]]:
        """Yield the answer to one window after the other with its first moment, as far as readings show them."""
        while begin + timedelta(seconds=seconds) <= end:
            if samples := self.window(system_id, begin, seconds, rate_hz):
                body = {"system_id": system_id, "sampling_hz": rate_hz, "sensor_data": samples}
                yield begin, self.ask("POST", "/api/diagnostics/anomaly/detect/", json=body)
            begin += timedelta(seconds=seconds)


@contextmanager
def stranger(url: str, home: Path, key: str) -> Iterator[Stranger]:
    """Give a stranger."""
    with TestClient(application(url, home)) as client:
        yield Stranger(client, key)
