"""`hdx readings`: sends a file of readings to a system, and shows how far it is."""

import asyncio
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from configs.settings import Limits, read_settings
from pipelines.datasets.mapping import Wanted
from pipelines.errors import InvalidInput, TooLarge
from serve_app.cli.options import ChannelOption, ZoneOption
from serve_app.cli.progress import Step, bar, tell
from serve_app.cli.users import OwnerOption, with_store
from serve_app.store.records_jobs import OPEN, Job, Ordered

if TYPE_CHECKING:
    from serve_app.store.repository import Store

# Bytes of a file in one row, and seconds between two looks at its job. Source: `api/jobs`, and own choice.
PART, LOOK_S = 4 * 2**20, 0.5

app = typer.Typer()


@app.command()
def readings(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, Excel, Parquet or JSON.")],
    system: Annotated[int, typer.Option("--system", help="Number of the system.")],
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    machine: Annotated[str, typer.Option(help="Whose readings count, where the file has several machines.")] = "",
    tenant: OwnerOption = "demo",
) -> None:
    """Send a file of readings to a system, as a job of the service that runs; it goes on when this command is ended."""
    wanted = Wanted.of(channel or (), zone, machine)
    limits = read_settings().limits
    if (size := file.stat().st_size) > limits.job_bytes:
        raise TooLarge("file", limits.job_bytes)
    given = {"json": file.suffix == ".json", "columns": dict(wanted.columns), "zone": wanted.zone, "machine": machine}
    order = Ordered(uuid4(), "readings", system, given, size, "file" if size > limits.readings_bytes else "job")

    async def send(store: "Store") -> Job:
        tenant_id = await store.tenants.get(tenant)
        await store.systems.get(tenant_id, system)
        await _keep(store, tenant_id, order, file, limits)
        tell(f"job {order.job_id}")
        with bar() as step:
            return await _ended(store, tenant_id, order, step)

    job = with_store(send)
    for line in job.report.get("notes", ()):
        tell(f"  {line}")
    if job.state != "done":
        raise InvalidInput("file", file.name, job.reason or f"its job is {job.state}: somebody ended it")
    tell(", ".join(f"{count} {name}" for name, count in job.report.items() if name != "notes"))


async def _keep(store: "Store", tenant_id: int, order: Ordered, file: Path, limits: Limits) -> None:
    """Keep a file and ask for its job."""
    await store.jobs.check_room(tenant_id, limits.jobs)
    with file.open("rb") as content:
        for number, part in enumerate(iter(lambda: content.read(PART), b"")):
            await store.jobs.keep_file(tenant_id, order.job_id, number, part, limits.jobs_bytes)
    await store.jobs.add(tenant_id, order, limits.jobs, getuser())


async def _ended(store: "Store", tenant_id: int, order: Ordered, step: Step) -> Job:
    """Return a job when it has ended."""
    job = await store.jobs.get(tenant_id, order.job_id)
    while job.state in OPEN:
        step("read" if job.total is None else "kept", job.done, job.total or 0)
        await asyncio.sleep(LOOK_S)
        job = await store.jobs.get(tenant_id, order.job_id)
    step("kept", job.done, job.total or 0)
    return job
