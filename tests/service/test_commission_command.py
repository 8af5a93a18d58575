"""`hdx commission` on a real database, and the demo system that a newcomer finds."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from getpass import getuser
from uuid import uuid4

import pytest
import typer
from typer.testing import CliRunner

from pipelines.datasets.simulator import simulate
from pipelines.errors import InvalidInput
from pipelines.machines.commissioning import LEAST
from serve_app.cli.commands import app
from serve_app.local.demo import DEMO_WINDOWS, teach_normal
from serve_app.store.repository import Store
from tests.service.houses import diagnosis_of

LEVELS = {"pressure": 182.0, "temperature": 52.0, "flow": 61.0, "vibration": 1.4}
BEGAN = datetime(2026, 11, 2, 6, tzinfo=UTC)


def hdx(*words: str) -> str:
    """Run a command and return what it prints."""
    ended = CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
    if ended.exception is not None:
        raise ended.exception
    return ended.output


async def windows_stored(url: str, name: str, count: int) -> str:
    """Store windows of a press, one a minute; return its number."""
    store = Store.open(url, 2)
    tenant_id = await store.tenants.ensure(name)
    system = await store.systems.add(tenant_id, "Press", "generic", "")
    for minute in range(count):
        window = simulate("healthy", 0.0, 10, minute, LEVELS)
        values = {channel: samples.tolist() for channel, samples in window.values.items()}
        stored = replace(
            diagnosis_of(system.system_id),
            window={"values": values, "rate_hz": window.rate_hz},
            created_at=BEGAN + timedelta(minutes=minute),
        )
        await store.diagnoses.record(tenant_id, stored, None)
    await store.close()
    return str(system.system_id)


def test_a_machine_is_commissioned_and_forgotten(tenant: str, embedded_url: str) -> None:
    """The command shows progress, ends a commissioning, learns a span, forgets, and names who did it in the audit."""
    number = asyncio.run(windows_stored(embedded_url, tenant, LEAST + 1))
    words = ("commission", number, "--tenant", tenant)
    assert f"commissioning, {LEAST + 1} of 20 windows" in hdx(*words)
    finished = hdx(*words, "--finish")
    assert f"monitoring, commissioned from {LEAST + 1} windows" in finished
    assert "182" in next(line for line in finished.splitlines() if "pressure" in line)
    with pytest.raises(InvalidInput, match="at least 6"):
        hdx(*words, "--from", "2026-11-02T06:00:00", "--to", "2026-11-02T06:01:00")
    assert f"from {LEAST} windows" in hdx(*words, "--from", "2026-11-02T06:01:00")
    assert "commissioning, 0 of 20 windows" in hdx(*words, "--forget")
    deeds = [line.split()[2:4] for line in hdx("audit", "--tenant", tenant).splitlines()[1:4]]
    assert deeds == [[getuser(), f"system.{deed}"] for deed in ("forgotten", "commissioned", "commissioned")]


@pytest.mark.parametrize("wrong", [("--finish", "--forget"), ("--to", "2026-11-02"), ("--from", "yesterday")])
def test_wishes_that_contradict_are_refused(tenant: str, wrong: tuple[str, ...]) -> None:
    """One thing at a time, and moments that can be read."""
    with pytest.raises(typer.BadParameter):
        hdx("commission", "1", "--tenant", tenant, *wrong)


async def test_the_demo_system_is_commissioned_when_it_is_made(embedded_url: str) -> None:
    """A newcomer's first window is judged: the system is monitored and its levels are its family's typical ones."""
    store = Store.open(embedded_url, 1)
    tenant_id = await store.tenants.ensure(uuid4().hex)
    made = await store.systems.add(tenant_id, "Demo power unit", "generic", "")
    await teach_normal(store, tenant_id, made)
    system, normal = await store.systems.machine(tenant_id, made.system_id)
    await store.close()
    assert (system.state, system.learned) == ("monitoring", DEMO_WINDOWS)
    assert normal is not None
    assert len(normal.points) == 1
