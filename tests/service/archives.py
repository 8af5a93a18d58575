"""In tests of the archive: days of readings that are old enough to be dropped, and all that is asked of them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from configs.settings import Retention
from serve_app.store.records import Reading, Series
from serve_app.store.repository import Store
from tests.service.test_store_parts import Plant, make_plant

BEGIN = datetime(2024, 5, 1, 22, 10, 30, 250_000, UTC)
DAYS = 5
ALWAYS = BEGIN - timedelta(days=9), BEGIN + timedelta(days=99)


def rows(seed: int = 3, every_s: float = 61.7, days: int = DAYS) -> list[Reading]:
    """Three channels over some days, one of which has but a few readings; values repeat."""
    random, found = np.random.default_rng(seed), []
    for name, step_s in (("pressure", every_s), ("flow", 3 * every_s), ("level", 40_000.0)):
        count = int(days * 86_400 / step_s)
        values = random.normal(100, 1, count).round(1)
        found += [Reading(name, BEGIN + timedelta(seconds=step_s * n), float(v)) for n, v in enumerate(values)]
    return found


def age(url: str, *days: date) -> None:
    """Make the tables of days, of all where none is named, as old as they look."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for name in tables(url):
            if not days or name[-8:] in {f"{day:%Y%m%d}" for day in days}:
                connection.execute(text(f"COMMENT ON TABLE {name} IS 'made 2024-05-02 00:00:00+00'"))


def tables(url: str) -> list[str]:
    """Return the names of the tables of days."""
    query = (
        "SELECT relname FROM pg_class JOIN pg_inherits ON pg_class.oid = inhrelid"
        " WHERE relname ~ '^(readings|rollups)_20' AND relkind = 'r' ORDER BY 1"
    )
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return list(connection.execute(text(query)).scalars())


async def clear(store: Store) -> int:
    """Clear up; return how many days went."""
    return (await store.retention.clear(Retention()))["days"]


async def spans(store: Store, plant: Plant) -> list[Sequence[Series]]:
    """Read many spans: whole, ending within days and within seconds, of all lengths and numbers of points."""
    random, found = np.random.default_rng(7), []
    for earlier, later in np.sort(random.uniform(-0.5, DAYS + 0.5, (8, 2)), axis=1):
        ends = BEGIN + timedelta(days=earlier), BEGIN + timedelta(days=later)
        for points in (4, 100, 5000):
            found.append(await span(store, plant, *ends, points))
    for points in (4, 50, 5000):
        found.append(await span(store, plant, *ALWAYS, points))
        found.append(await span(store, plant, *ALWAYS, points, ["flow", "none"]))
    return found


async def span(
    store: Store,
    plant: Plant,
    begin: datetime = ALWAYS[0],
    end: datetime = ALWAYS[1],
    points: int = 5000,
    names: Sequence[str] | None = None,
) -> Sequence[Series]:
    own = plant.tenant_id, plant.system.system_id
    return await store.readings.span(*own, begin, end, points, names, archived=True)


def files_of(folder: Path, plant: Plant) -> list[Path]:
    """Return the files of a system, by day."""
    return sorted(folder.glob(f"*/tenant={plant.tenant_id}/system={plant.system.system_id}/*"))


async def sent(store: Store, found: Sequence[Reading] = ()) -> Plant:
    """Send readings of a system, whose number is not its tenant's."""
    await store.tenants.ensure("somebody else")
    plant = await make_plant(store)
    await store.readings.add(plant.tenant_id, plant.system.system_id, found or rows())
    return plant
