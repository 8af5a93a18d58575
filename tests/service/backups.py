"""In tests of backups: a filled home with a running server, what is asked of it and of what is restored, and kills."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from configs.settings import Settings
from pipelines.detectors.bundle import Bundle
from pipelines.knowledge.ingest.ingest import ingest_document
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index
from pipelines.machines.family import read_family
from pipelines.promotion.mlflow_client import Registry
from pipelines.training.publish import publish
from serve_app.local.bootstrap import answers, start_mlflow
from serve_app.local.processes import wait_until
from serve_app.sealing import Sealer
from serve_app.shared.credentials import hash_password
from serve_app.shared.registry_access import access_of, signer_of
from serve_app.store.repository import Store
from tests.serve.service import ROOT, free_ports
from tests.service.archives import age, clear, rows
from tests.service.houses import make_house
from tests.service.test_store_parts import Plant, make_plant

MANUAL = b"# Press\n\nThe hoist HS-3 is filled with 34 litres of oil.\n"
PASSWORD = "a long pass phrase"
KILL = "os.kill(os.getpid(), signal.SIGKILL)"  # of a process that runs a command, in its own words
# Every table, those of each day and of the queue too; and what guards them, but for who owns it.
TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'hdx_queue'::regnamespace)
"""
GUARDS = """
SELECT concat_ws(' ', tablename, policyname, permissive, replace(roles::text, current_user, 'owner'), cmd, qual,
    with_check)
FROM pg_policies
UNION ALL SELECT concat_ws(' ', c.oid::regclass, relrowsecurity, relforcerowsecurity, r.rolname = current_user,
    replace(relacl::text, current_user, 'owner'), obj_description(c.oid))
FROM pg_class c JOIN pg_roles r ON r.oid = relowner WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT concat_ws(' ', p.oid::regprocedure, prosecdef, prosrc, replace(proacl::text, current_user, 'owner'),
    p.proowner = current_user::regrole)
FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
ORDER BY 1
"""


@dataclass
class Kept:
    """A home with its databases, and the secrets of its service.

    Attributes:
        database: Address of a server elsewhere; empty for the embedded one.
    """

    folder: Path
    secret: str = field(default_factory=lambda: uuid4().hex * 2)
    database: str = ""
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)

    @property
    def home(self) -> Path:
        return self.folder / "var"

    @property
    def settings(self) -> Settings:
        url = self.database or None
        return Settings(
            home=self.home,
            mlflow_port=self.port,
            mlflow_password=PASSWORD,
            secret_key=self.secret,
            database={"url": url, "mlflow_url": url and f"{url}_mlflow"},
        )

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HDX_", "RAY_"))}
        names = {"SECRET_KEY": self.secret, "MLFLOW_PASSWORD": PASSWORD, "HOME": str(self.home)}
        names |= {"MLFLOW_PORT": str(self.port)}
        if self.database:
            names |= {"DATABASE__URL": self.database, "DATABASE__MLFLOW_URL": f"{self.database}_mlflow"}
        return clean | {f"HDX_{name}": value for name, value in names.items()} | {"PYTHONPATH": str(ROOT)}

    def hdx(self, *words: str, before: str = "") -> tuple[int, str]:
        """Run a command, with something changed in its process before; return how it ends and what it says."""
        code = f"import os, signal, sys\nfrom serve_app.backups import dumps, making, restoring\n{before}\n"
        code += f"from serve_app.cli import main\nsys.argv = {['hdx', *words]!r}\nmain()"
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        return done.returncode, done.stdout + done.stderr


def scalars(url: str, query: str) -> list[Any]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return list(connection.execute(text(query)).scalars())


def counts(url: str) -> dict[str, int]:
    """Count the rows of every table."""
    return {name: scalars(url, f"SELECT count(*) FROM {name}")[0] for name in scalars(url, TABLES)}  # noqa: S608


def more(counted: dict[str, int]) -> dict[str, int]:
    """Return the counts with what a restore adds: a generation of keys, and its note."""
    return {name: count + (name in ("audit", "token_keys")) for name, count in counted.items()}


def guards(url: str) -> list[str]:
    """Return policies, rights and owners of all tables and functions."""
    return list(scalars(url, GUARDS))


async def fill(url: str, settings: Settings) -> Plant:
    """Put a row into every table, days into the archive, a manual into the index, and seal the audit."""
    store = Store.open(url, 4, archive=settings.archive_url)
    for _ in range(2):
        await make_house(store)
    plant = await make_plant(store)
    await store.readings.add(plant.tenant_id, plant.system.system_id, rows(every_s=601.7))
    age(url)
    await clear(store)
    tenant_id = await store.tenants.ensure("demo")
    await store.accounts.add(tenant_id, "ann", "ann@example.com", hash_password(PASSWORD), "admin")
    await store.audit.note(tenant_id, "ann", "did", "thing", "")
    await Sealer.of(store.seals, settings).seal()
    await store.close()
    index = Index.open(settings.home / "knowledge", False)
    ingest_document("press.md", MANUAL, index, Encoder.load("", "cpu"), tenant_id)
    return plant


@contextmanager
def served(settings: Settings, url: str) -> Iterator[Registry]:
    """Start the home's MLflow over these tables."""
    with start_mlflow(settings, url) as mlflow:
        wait_until(lambda: answers(f"{settings.tracking_url}/health"), [mlflow], 300)
        yield Registry(access_of(settings))


def register(settings: Settings, url: str, bundle: Bundle) -> None:
    """Register a signed version in an MLflow over these tables."""
    with served(settings, url) as registry:
        publish(bundle, read_family("generic"), access_of(settings), signer_of(settings), True)
        assert registry.champion("generic", bundle.card.detector) is not None
