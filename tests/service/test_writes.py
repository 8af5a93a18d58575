"""Whoever leaves leaves nothing half: at every wait of every request that changes something, all of it is done or none.

What is done is in the audit, in the same transaction; what is outside of the database is there before it is done.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from serve_app.api.app import create_app
from serve_app.shared.credentials import TokenIssuer, hash_password
from serve_app.store.records import Principal
from serve_app.store.repository import Store
from serve_app.store.tables import APP_ROLE
from tests.contract.stand_ins import Bench, make_bench
from tests.service.houses import House, make_house, make_job
from tests.service.leaving import Exchange

JSON = {"content-type": "application/json"}
PASSWORD = "correct horse battery"
HASHED = hash_password(PASSWORD)
# Most waits of a request that changes something; more would be a test without an end.
WAITS_MAX = 150


class SilentLibrary:
    """Has nothing to announce, and nothing to wait for."""

    def announce(self, tenant_id: int, document_id: str) -> None:
        return

    async def settle(self, tenant_id: int, document_id: str) -> None:
        return


@dataclass
class Plant:
    """A tenant with the application that serves it."""

    app: FastAPI
    bench: Bench
    store: Store
    house: House
    url: str
    headers: dict[str, str]

    def rows(self, *tables: str) -> list[Sequence[str]]:
        """Return what stands in some tables of the tenant."""
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"options": f"-c role={APP_ROLE}"})
        with engine.connect() as connection:
            for name, value in (("hdx.tenant", self.house.tenant_id), ("hdx.user", self.house.user_id)):
                setting = text("SELECT set_config(:name, :value, false)")
                connection.execute(setting, {"name": name, "value": str(value)})
            query = "SELECT md5(CAST(t AS text)) FROM {} AS t ORDER BY 1"
            return [connection.execute(text(query.format(table))).scalars().all() for table in tables]

    def run_sql(self, statement: str) -> Any:
        """Run a statement on the rows of the tenant; return what it finds."""
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"options": f"-c role={APP_ROLE}"})
        with engine.begin() as connection:
            connection.execute(text("SELECT set_config('hdx.tenant', :id, true)"), {"id": str(self.house.tenant_id)})
            found = connection.execute(text(statement))
            return found.one() if found.returns_rows else None

    def exchange(self, method: str, path: str, body: Any = None) -> Exchange:
        """Return a request of its administrator."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return Exchange(method, path, content, self.headers | JSON)


@pytest.fixture
async def plant(embedded_url: str, tmp_path: Path) -> AsyncIterator[Plant]:
    """A plant whose administrator has an access token, so that nothing is asked for him."""
    bench, store = make_bench(tmp_path), Store.open(embedded_url, 4)
    bench.services = replace(bench.services, store=store, library=SilentLibrary())
    house = await make_house(store)
    token = TokenIssuer(bench.services.settings).issue(
        Principal(house.tenant_id, house.user_id, house.username, "admin")
    )
    headers = {"authorization": f"Bearer {token.access}"}
    yield Plant(create_app(bench.services), bench, store, house, embedded_url, headers)
    await store.close()


@dataclass
class Deed:
    """A request that changes something.

    Attributes:
        made: Makes the next one, and what it needs.
        tables: That it changes.
        goes_on: Whether it is done though its caller has left.
    """

    made: Callable[[Plant], Awaitable[Exchange]]
    tables: tuple[str, ...]
    goes_on: bool = False


def sent(method: str, path: str, body: Any = None) -> Callable[[Plant], Awaitable[Exchange]]:
    """Return what makes one that names the machine and the diagnosis of the plant, and is new each time."""

    async def made(plant: Plant) -> Exchange:
        system, trace_id = plant.house.system.system_id, plant.house.diagnosis.trace_id
        said = json.loads(json.dumps(body).replace("FRESH", uuid4().hex[:12]))
        return plant.exchange(method, path.format(system=system, trace_id=trace_id), said)

    return made


async def _document(plant: Plant) -> Exchange:
    form = b'--b\r\ncontent-disposition: form-data; name="file"; filename="%b.md"\r\n\r\n# Press\r\n--b--\r\n'
    asked = plant.exchange("POST", "/api/rag/documents/", form % uuid4().hex.encode())
    return replace(asked, headers=plant.headers | {"content-type": "multipart/form-data; boundary=b"})


async def _reindex(plant: Plant) -> Exchange:
    plant.run_sql("UPDATE documents SET state = 'failed', attempts = 3")
    return plant.exchange("POST", "/api/rag/documents/press/reindex/")


async def _remove_document(plant: Plant) -> Exchange:
    plant.run_sql("UPDATE documents SET state = 'ready'")
    return plant.exchange("DELETE", "/api/rag/documents/press/")


async def _delete_system(plant: Plant) -> Exchange:
    system = await plant.store.systems.add(plant.house.tenant_id, "Lift", "generic", "")
    return plant.exchange("DELETE", f"/api/systems/{system.system_id}/")


async def _job(plant: Plant) -> Exchange:
    plant.run_sql("UPDATE jobs SET state = 'failed'")
    plant.run_sql("DELETE FROM job_parts")
    many = [{"at": f"2026-03-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z", "flow": 1.0} for n in range(10_001)]
    return plant.exchange("POST", f"/api/systems/{plant.house.system.system_id}/readings/", {"readings": many})


async def _cancel_job(plant: Plant) -> Exchange:
    job = await make_job(plant.store, plant.house.tenant_id, plant.house.system.system_id)
    return plant.exchange("POST", f"/api/jobs/{job.job_id}/cancel/")


async def _settle(plant: Plant) -> Exchange:
    plant.run_sql("UPDATE quarantine SET settled = NULL")
    number = plant.house.system.system_id
    (aside,) = await plant.store.readings.quarantined(plant.house.tenant_id, number)
    body = {"dismiss": [aside.quarantine_id]}
    return plant.exchange("POST", f"/api/systems/{number}/readings/quarantine/", body)


async def _change_family(plant: Plant) -> Exchange:
    name = f"f{uuid4().hex[:12]}"
    await plant.exchange("POST", "/api/families/", FAMILY | {"name": name}).send(plant.app)
    return plant.exchange("PUT", f"/api/families/{name}/", FAMILY | {"title": "Lift"})


async def _remove_family(plant: Plant) -> Exchange:
    name = f"f{uuid4().hex[:12]}"
    await plant.store.families.add(plant.house.tenant_id, name, '{"title":"Press"}')
    return plant.exchange("DELETE", f"/api/families/{name}/")


async def _log_in(plant: Plant) -> Exchange:
    account = await plant.store.accounts.get(plant.house.user_id)
    assert account is not None
    if account.password_hash != HASHED:
        await plant.store.accounts.set_password(account, HASHED)
    return plant.exchange("POST", "/api/auth/login/", {"username": plant.house.username, "password": PASSWORD})


async def _log_out(plant: Plant) -> Exchange:
    asked = await _log_in(plant)
    await asked.send(plant.app)
    return plant.exchange("POST", "/api/auth/logout/", {"refresh": json.loads(asked.answer)["refresh"]})


FAMILY = {"title": "Press", "channels": {"pressure": {"unit": "bar"}}}
LIMITS = {"pressure": {"high": 200.0}}
DEEDS: dict[str, Deed] = {
    "add a system": Deed(sent("POST", "/api/systems/", {"name": "FRESH", "family": "generic"}), ("systems",)),
    "change a system": Deed(sent("PATCH", "/api/systems/{system}/", {"name": "FRESH", "limits": LIMITS}), ("systems",)),
    "delete a system": Deed(_delete_system, ("systems",)),
    "forget a normal": Deed(sent("DELETE", "/api/systems/{system}/baseline/"), ("systems", "normals")),
    "define a family": Deed(sent("POST", "/api/families/", FAMILY | {"name": "fFRESH"}), ("families",)),
    "change a family": Deed(_change_family, ("families",)),
    "remove a family": Deed(_remove_family, ("families",)),
    "speak of an answer": Deed(
        sent("POST", "/api/rag/answers/{trace_id}/feedback/", {"verdict": "helped", "comment": "FRESH"}),
        ("answer_feedback",),
    ),
    "add a document": Deed(_document, ("documents",)),
    "index a document again": Deed(_reindex, ("documents",)),
    "remove a document": Deed(_remove_document, ("documents",)),
    "send a file": Deed(_job, ("jobs", "job_parts")),
    "cancel a job": Deed(_cancel_job, ("jobs", "job_parts")),
    "settle what was set aside": Deed(_settle, ("quarantine",)),
    "log in": Deed(_log_in, ("refresh_tokens",), goes_on=True),
    "log out": Deed(_log_out, ("refresh_tokens",)),
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
async def test_a_caller_who_leaves_changes_nothing_half(plant: Plant, deed: Deed) -> None:
    """Whenever the caller hangs up, the change is there with its one note, or neither is."""
    done = set()
    for at in range(WAITS_MAX):
        exchange = await deed.made(plant)
        before, notes = plant.rows(*deed.tables), len(*plant.rows("audit"))
        left = await exchange.send(plant.app, at)
        after, noted = plant.rows(*deed.tables), len(*plant.rows("audit")) - notes
        assert noted == (before != after), f"left at wait {at}"
        done.add(noted)
        if not left:
            assert (exchange.status < 300, noted) == (True, True), exchange.answer
            break
    assert not left
    assert done == ({True} if deed.goes_on else {False, True})


async def test_a_file_whose_sender_left_is_whole_or_gone(plant: Plant) -> None:
    """A job has its file, and no file is kept of none, whenever the sender hangs up."""
    query = """
        SELECT count(*) FROM job_parts
        FULL JOIN (SELECT job_id FROM jobs WHERE state = 'queued') AS asked USING (job_id)
        WHERE asked.job_id IS NULL OR job_parts.job_id IS NULL
    """
    left, at = True, 0
    while left:
        left = await (await _job(plant)).send(plant.app, at)
        assert plant.run_sql(query) == (0,), f"left at wait {at}"
        at += 1


async def test_readings_are_kept_all_or_none(plant: Plant) -> None:
    """Of one request, whenever its sender hangs up."""
    path, left, at, seen = f"/api/systems/{plant.house.system.system_id}/readings/", True, 0, set()
    while left:
        day = f"2026-02-{1 + at % 28:02}"
        moments = [f"{day}T{at // 28:02}:{minute:02}:00Z" for minute in range(50)]
        rows = [{"at": moment, "flow": 25.0, "pressure": 101.0} for moment in moments]
        (before,) = plant.rows("readings")
        left = await plant.exchange("POST", path, {"readings": rows}).send(plant.app, at)
        seen.add(len(*plant.rows("readings")) - len(before))
        at += 1
    assert seen == {0, 100}


async def test_a_model_moves_after_the_audit_says_so(plant: Plant) -> None:
    """The registry is not asked before a note says who wants what; both go on to their end without the caller."""
    owner = await plant.store.tenants.ensure(plant.bench.services.settings.models.owner)
    issuer = TokenIssuer(plant.bench.services.settings)
    plant.headers["authorization"] = f"Bearer {issuer.issue(Principal(owner, 1, 'ann', 'admin')).access}"
    path, left, at = "/api/models/hdx-generic-catboost/promote/", True, 0
    while left:
        known, asked = len(await plant.store.audit.newest(owner, 10_000)), len(plant.bench.promotions.requests)
        left = await plant.exchange("POST", path, {"version": "3"}).send(plant.app, at)
        notes = await plant.store.audit.newest(owner, 10_000)
        fresh = [each.action for each in notes[: len(notes) - known]]
        moved = len(plant.bench.promotions.requests) - asked
        assert fresh == ["model.promote", "model.promote.asked"] * moved, f"left at wait {at}"
        at += 1
    assert moved


KEYED = (
    "add a system",
    "define a family",
    "speak of an answer",
    "add a document",
    "index a document again",
    "send a file",
    "cancel a job",
    "settle what was set aside",
)


@pytest.mark.parametrize("name", KEYED)
async def test_under_a_key_what_was_begun_is_done_once(plant: Plant, name: str) -> None:
    """Whoever left, whenever, and sends it again has it done once, with one note, and hears the first answer."""
    deed, at = DEEDS[name], 0
    while True:
        exchange = await deed.made(plant)
        exchange.headers = {**exchange.headers, "idempotency-key": uuid4().hex}
        notes = len(*plant.rows("audit"))
        left = await exchange.send(plant.app, at)
        again = [replace(exchange, status=0, answer=b"") for _ in range(2)]
        for each in again:
            await each.send(plant.app)
        assert {each.status < 300 for each in again} == {True}, (at, [each.answer for each in again])
        assert again[0].answer == again[1].answer
        assert len(*plant.rows("audit")) - notes == 1, f"left at wait {at}"
        if not left:
            break
        at += 1


async def test_a_window_is_stored_with_what_it_counts(plant: Plant) -> None:
    """A detect whose caller hangs up is stored and counted for its system, or neither."""
    number, left, at = plant.house.system.system_id, True, 0
    await plant.store.systems.forget(plant.house.tenant_id, number)
    samples = {"pressure": [100.0] * 5, "flow": [25.0] * 5, "temperature": [45.0] * 5, "vibration": [0.5] * 5}
    while left:
        body = {"system_id": number, "sensor_data": samples}
        left = await plant.exchange("POST", "/api/diagnostics/anomaly/detect/", body).send(plant.app, at)
        system = await plant.store.systems.get(plant.house.tenant_id, number)
        assert len(*plant.rows("diagnoses")) - 1 == system.learned, f"left at wait {at}"
        at += 1
        await asyncio.sleep(0)
    assert system.learned
