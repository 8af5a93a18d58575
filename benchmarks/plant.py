"""What readings are measured on: a gateway and a worker that may be killed, their PostgreSQL, and who sends."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import psycopg

from benchmarks.speed import ROOT
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.local.embedded import start as start_postgres
from serve_app.store.migrate import beside, create_database, migrate
from tests.serve.service import free_ports

PATIENCE_S = 120
PLANT = (sys.executable, "-m", "benchmarks.plant")


def archive_of(home: Path) -> str:
    """Return where files of the archive lie."""
    return str(home / "archive")


def serve(url: str, port: int, home: str) -> None:
    """Serve the application over the store of an address, as one gateway does."""
    import uvicorn

    from serve_app.api.app import create_app
    from serve_app.store.repository import Store
    from tests.contract.stand_ins import make_bench

    services = replace(make_bench(Path(home)).services, store=Store.open(url, 8, archive=archive_of(Path(home))))
    uvicorn.run(create_app(services), host="127.0.0.1", port=port, log_level="critical", access_log=False)


def work(url: str) -> None:
    """Do the jobs of an address, as the worker's replica does."""
    from configs.settings import Limits
    from serve_app.jobs import Jobs
    from serve_app.replicas.worker import REST_S, QueueWorker
    from serve_app.shared import logs
    from serve_app.store.repository import Store

    async def look(tenant_id: int, system_id: int) -> None:
        """Judge nothing."""

    async def run() -> None:
        worker = QueueWorker(url, look, jobs=Jobs(Store.open(url, 6), Limits()))
        while True:
            with logs.surviving("queue.waits"):
                await worker.run()
            await asyncio.sleep(REST_S)

    asyncio.run(run())


@dataclass
class Plant:
    """A gateway, a worker, their PostgreSQL, and a tenant with systems."""

    folder: Path
    postgres: EmbeddedPostgres
    url: str
    port: int
    key: str = ""
    systems: list[int] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None
    worker: "subprocess.Popen[bytes] | None" = None

    def start_worker(self) -> None:
        """Have jobs done."""
        self.worker = subprocess.Popen([*PLANT, "--work", self.url], cwd=ROOT)

    def start(self) -> None:
        """Start the gateway, and wait until it answers."""
        self.process = subprocess.Popen([*PLANT, "--serve", self.url, str(self.port), str(self.folder)], cwd=ROOT)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self.port}/health/live").is_success:
                    return
            time.sleep(0.1)
        raise RuntimeError("the gateway does not answer")

    def kill(self) -> None:
        """Kill the gateway."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_worker(self) -> None:
        """Kill the worker, where there is one."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()

    def kill_postgres(self) -> None:
        """Kill a process of PostgreSQL that serves the gateway: all are ended, and the server recovers."""
        for process in psutil.Process(self.postgres.pid).children():
            with suppress(psutil.Error):
                if "hdx_bench" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)
                    return

    def ask(self, query: str, *values: Any) -> list[Any]:
        """Ask PostgreSQL itself, once it has recovered from what was done to it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
                    return connection.execute(query.encode(), values).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)


@contextmanager
def plant(systems: int) -> Iterator[Plant]:
    """Make all that is measured on."""
    from hashlib import sha256

    from serve_app.store.repository import Store

    with TemporaryDirectory() as folder:
        postgres = start_postgres(Path(folder) / "postgres")
        create_database(postgres.url("postgres"), "hdx_bench")
        made = Plant(Path(folder), postgres, beside(postgres.url("postgres"), "hdx_bench"), free_ports(1)[0])
        migrate(made.url)

        async def fill() -> None:
            store = Store.open(made.url, 2)
            tenant_id = await store.tenants.ensure("plant")
            made.key = "bench-readings"
            await store.keys.add(tenant_id, "logger", "operator", sha256(made.key.encode()).digest())
            for number in range(systems):
                made.systems.append((await store.systems.add(tenant_id, f"press {number}", "generic", "")).system_id)
            await store.close()

        asyncio.run(fill())
        try:
            made.start()
            yield made
        finally:
            made.kill()
            made.kill_worker()
            postgres.stop()


def send(made: Plant, system_id: int, body: bytes, kind: dict[str, str], patience_s: float = 0) -> dict[str, Any]:
    """Send a body, again and again for as long as it may take."""
    end = time.monotonic() + patience_s
    while True:
        try:
            path = f"http://127.0.0.1:{made.port}/api/systems/{system_id}/readings/"
            answer = httpx.post(path, content=body, headers=kind | {"x-api-key": made.key}, timeout=60)
            if answer.is_success or 429 != answer.status_code < 500:
                told: dict[str, Any] = answer.raise_for_status().json()
                return told
        except httpx.TransportError:
            pass
        if time.monotonic() > end:
            raise RuntimeError(f"system {system_id}: not taken")
        time.sleep(0.2)


def main() -> None:
    """Be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=3, metavar=("URL", "PORT", "HOME"))
    parser.add_argument("--work", metavar="URL")
    given = parser.parse_args()
    if given.serve:
        serve(given.serve[0], int(given.serve[1]), given.serve[2])
    else:
        work(given.work)


if __name__ == "__main__":
    main()
