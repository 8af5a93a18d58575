"""In service tests: tenants with a row in every table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from configs.settings import DatabaseWaits
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Learned, Normal
from serve_app.sealing import Sealer
from serve_app.shared.checkpoints import Signer
from serve_app.store.checkpoint_files import CheckpointFiles
from serve_app.store.protocols import StoreParts
from serve_app.store.records import Reading, StoredDiagnosis, Suspect, System
from serve_app.store.records_answers import Cited
from serve_app.store.records_idempotency import KeyScope
from serve_app.store.records_identities import Identity
from serve_app.store.records_jobs import Job, JobTask, Ordered
from serve_app.store.records_watching import Happened
from serve_app.store.repository import Store

FEATURES = 5
MANY = 10**9
PLACE = Cited("press", "Press", 1, 0, 7)
SIGNER = Signer(bytes(32))
GIVEN = {"json": False, "columns": {}, "zone": None, "machine": ""}


@dataclass(frozen=True)
class House:
    """One tenant with a row in every table."""

    tenant_id: int
    user_id: int
    username: str
    system: System
    diagnosis: StoredDiagnosis
    token_id: UUID
    key: bytes
    job: Job


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def learned(value: float, features: int = FEATURES) -> Learned:
    total = np.arange(features, dtype=np.float64) + value
    return Learned(0, Baseline(np.ones(features), total, np.full(features, value * value)))


def normal_of(value: float) -> Normal:
    return Normal.of(learned(value).sums)


def diagnosis_of(system_id: int) -> StoredDiagnosis:
    window = {"values": {"pressure": [100.5, 101.2]}, "rate_hz": 1.0}
    return StoredDiagnosis(uuid4(), system_id, "generic", datetime.now(UTC), window, b'{"score": 0.23}')


def reading_of(value: float = 101.2, at: datetime = datetime(2026, 1, 2, tzinfo=UTC)) -> Reading:
    return Reading("pressure", at, value)


def suspect_of(value: str = "9999", at: datetime = datetime(2026, 1, 2, tzinfo=UTC)) -> Suspect:
    return Suspect("pressure", at, value, "must be between 0 and 700 bar")


async def make_job(
    store: StoreParts,
    tenant_id: int,
    system_id: int,
    content: bytes = b"time,pressure [bar]\n",
    given: Mapping[str, Any] = GIVEN,
    task: JobTask = "job",
) -> Job:
    """Ask for a job of a file."""
    order = Ordered(uuid4(), "readings", system_id, given, len(content), task)
    await store.jobs.keep_file(tenant_id, order.job_id, 0, content, MANY)
    return await store.jobs.add(tenant_id, order, MANY, "ann")


def sealer_of(store: Store, folder: Path, signer: Signer = SIGNER) -> Sealer:
    return Sealer(store.seals, CheckpointFiles(folder), signer, DatabaseWaits())


async def make_house(store: Store) -> House:
    name = uuid4().hex
    tenant_id = await store.tenants.ensure(name)
    account = await store.accounts.add(tenant_id, name, f"{name}@example.com", "hash", "admin")
    key = sha256(name.encode()).digest()
    await store.keys.add(tenant_id, "line 4", "operator", key)
    await store.families.add(tenant_id, "press", '{"title":"Press"}')
    system = await store.systems.add(tenant_id, "Press", "generic", "")
    diagnosis = diagnosis_of(system.system_id)
    await store.systems.commission(tenant_id, system.system_id, normal_of(0), 20)
    await store.diagnoses.record(tenant_id, diagnosis, learned(1))
    system = await store.systems.get(tenant_id, system.system_id)
    token_id = uuid4()
    await store.sessions.start(account.user_id, uuid4(), token_id, soon())
    await store.identities.link(account, Identity("https://id.example", name), name)
    await store.invitations.add(f"next to {name}", key, timedelta(days=7))
    await store.audit.note(tenant_id, name, "made", "house", "")
    await store.readings.add(tenant_id, system.system_id, [reading_of()], [suspect_of()])
    await store.archive.begin(tenant_id, system.system_id, reading_of().at.date())
    await store.events.add(tenant_id, [Happened(system.system_id, None, "window.unread", "made")])
    await store.feedback.give(tenant_id, diagnosis.trace_id, "confirmed", None, "", name)
    await store.diagnoses.consult(tenant_id, diagnosis.trace_id, [{"document_id": "press"}])
    await store.answers.add(tenant_id, diagnosis.trace_id, "How much oil?", [PLACE], False)
    await store.answers.give(tenant_id, diagnosis.trace_id, "key line 4", "helped", "", name)
    await store.rates.settle({(f"tenant:{tenant_id}:chat", 0): 1})
    await store.rates.take(f"user {account.user_id}", 8, 60)
    job = await make_job(store, tenant_id, system.system_id)
    await store.idempotency.begin(KeyScope(tenant_id, f"user {name}", "/api/systems/", "made"), uuid4(), b"0")
    await store.documents.add(tenant_id, "press", "press.md", "0", b"# Press")
    with TemporaryDirectory() as folder:
        await sealer_of(store, Path(folder)).seal_tree(tenant_id)
    return House(tenant_id, account.user_id, name, system, diagnosis, token_id, key, job)
