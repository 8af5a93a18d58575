"""Teaches systems what is normal for them from stored windows, alike over detect, REST and on the command line.

Stands on the store and knows neither HTTP nor the ensemble: a machine is commissioned while no detector runs.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np

from pipelines.diagnosis.rules import doubts
from pipelines.errors import InvalidInput
from pipelines.machines import alarm
from pipelines.machines.commissioning import LEAST, NEEDED, Normal, OperatingPoint, accept, commission
from pipelines.machines.family import Family
from pipelines.signals.features import feature_names, mean_places
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window, stored_window
from serve_app.families import Families
from serve_app.store.life import evidence_of
from serve_app.store.protocols import StoreParts
from serve_app.store.records import COMMAND_LINE, System

# Windows that a machine is commissioned from, at most, the newest of them. Source: the memory of a baseline; more would
# be forgotten again.
WINDOWS_MAX = 400
DECIMALS = 6


class Commissioning:
    """Shows, teaches and forgets what is normal for a tenant's systems."""

    def __init__(self, store: StoreParts, families: Families | None = None) -> None:
        self._store = store
        self._families = families or Families(store)

    async def finish(self, tenant_id: int, system: System, actor: str = COMMAND_LINE) -> bool:
        """End a commissioning with the windows that were stored since it began.

        Returns:
            Whether it was done; not where somebody else has ended it meanwhile.

        Raises:
            InvalidInput: The system is not being commissioned, or too few windows were stored.
            UnknownFamily: The system's family is no longer shipped.
        """
        if system.state != "commissioning":
            raise InvalidInput("state", system.state, "must be commissioning; forget the baseline first to learn anew")
        count = min(system.learned, WINDOWS_MAX)
        windows = await self._store.diagnoses.newest(tenant_id, system.system_id, count) if count else []
        _check_count(len(windows), "windows")
        family = await self._families.of(tenant_id, system.family)
        normal = await asyncio.to_thread(_commission, windows, family)
        given = tenant_id, system.system_id, normal, len(windows), _told(normal, len(windows)), actor
        return await self._store.systems.commission(*given, since=system.commissioned_since)

    async def learn(
        self, tenant_id: int, system_id: int, begin: datetime, end: datetime, actor: str = COMMAND_LINE
    ) -> None:
        """Learn what is normal from the windows stored between two moments, in place of what was normal before.

        Raises:
            NotFound: The tenant has no such system.
            InvalidInput: It ends before it begins, or too few windows were stored.
            UnknownFamily: The system's family is no longer shipped.
        """
        if end <= begin:
            raise InvalidInput("to", end.isoformat(), "must be later than from")
        system = await self._store.systems.get(tenant_id, system_id)
        windows = await self._store.diagnoses.newest(tenant_id, system_id, WINDOWS_MAX, begin, end)
        _check_count(len(windows), "from")
        family = await self._families.of(tenant_id, system.family)
        normal = await asyncio.to_thread(_commission, windows, family)
        told = f"{_told(normal, len(windows))}, from {begin.isoformat()} to {end.isoformat()}"
        await self._store.systems.commission(tenant_id, system_id, normal, len(windows), told, actor)

    async def teach(
        self, tenant_id: int, system_id: int, windows: Sequence[Window], source: str, actor: str = COMMAND_LINE
    ) -> None:
        """Learn what is normal from windows of a file, in place of what was normal before.

        Raises:
            NotFound: The tenant has no such system.
            InvalidInput: There are too few.
            UnknownFamily: The system's family is no longer shipped.
        """
        system = await self._store.systems.get(tenant_id, system_id)
        family = await self._families.of(tenant_id, system.family)
        if len(windows) < LEAST:
            raise InvalidInput("data", len(windows), f"must hold at least {LEAST} windows of {family.window_s:g} s")
        normal = await asyncio.to_thread(_commission_windows, windows, family)
        told = f"{_told(normal, len(windows))}, from {source}"
        await self._store.systems.commission(tenant_id, system_id, normal, len(windows), told, actor)

    async def accept(
        self, tenant_id: int, system_id: int, trace_ids: Sequence[UUID], actor: str = COMMAND_LINE
    ) -> Normal:
        """Add the operating point that stored windows show to what is normal.

        Raises:
            NotFound: The tenant has no such system, or the system no such diagnosis.
            InvalidInput: Nobody knows yet what is normal for it, or the windows lack a channel of that.
            UnknownFamily: The system's family is no longer shipped.
        """
        system = await self._store.systems.get(tenant_id, system_id)
        family = await self._families.of(tenant_id, system.family)
        # A diagnosis that is named twice shows its window once.
        windows = await self._store.diagnoses.windows(tenant_id, system_id, list(dict.fromkeys(trace_ids)))
        rows = await asyncio.to_thread(_rows, windows, family)
        change = partial(accept, rows=rows, family=family)
        return await self._store.systems.amend(tenant_id, system_id, change, f"{len(windows)} windows", actor)

    async def show(self, tenant_id: int, system_id: int) -> dict[str, Any]:
        """Return what is normal for a system, in physical units, and how far it is from being known.

        Raises:
            NotFound: The tenant has no such system.
            UnknownFamily: The system's family is no longer shipped.
        """
        system, normal = await self._store.systems.machine(tenant_id, system_id)
        family = await self._families.of(tenant_id, system.family)
        points = () if normal is None else normal.points
        return {
            "system_id": system_id,
            "state": system.state,
            "windows": system.learned,
            "needed": NEEDED,
            "since": system.commissioned_since.isoformat(),
            "left_out": 0 if normal is None else normal.left_out,
            "operating_points": [_point(number, point, family) for number, point in enumerate(points, 1)],
            "notes": [] if normal is None else list(doubts(normal, family)),
            "limits": limits_of(system),
        }


def state_of(system: System) -> dict[str, Any]:
    """Return where a system stands in its life, and whether it is in alarm."""
    return {"state": system.state, "windows": system.learned, "needed": NEEDED, "alarm": alarm_of(system)}


def alarm_of(system: System) -> dict[str, Any]:
    """Return whether a system is in alarm, by how much evidence of how much, and since when."""
    evidence = evidence_of(system)
    since = datetime.fromtimestamp(evidence.since, system.created_at.tzinfo).isoformat() if evidence.raised else None
    return {
        "raised": evidence.raised,
        "evidence": round(evidence.height, DECIMALS),
        "needed": round(alarm.NEEDED, DECIMALS),
        "since": since,
        "unseen": evidence.unseen,
    }


def limits_of(system: System) -> dict[str, dict[str, float | None]]:
    """Return the limits that people stated for a system, by channel."""
    return {name: {"low": ends.get("low"), "high": ends.get("high")} for name, ends in system.limits.items()}


def _check_count(count: int, field: str) -> None:
    if count < LEAST:
        raise InvalidInput(field, count, f"must hold at least {LEAST} stored windows")


def _commission(windows: Sequence[Mapping[str, Any]], family: Family) -> Normal:
    return commission(_rows(windows, family), family)


def _commission_windows(windows: Sequence[Window], family: Family) -> Normal:
    return commission(make_feature_table(windows, [None] * len(windows), family).raw, family)


def _rows(windows: Sequence[Mapping[str, Any]], family: Family) -> Floats:
    """Return the raw features of stored windows: `float64[N, F]`."""
    read = [stored_window(window) for window in windows]
    return make_feature_table(read, [None] * len(read), family).raw


def _told(normal: Normal, windows: int) -> str:
    count = len(normal.points)
    return f"{windows} windows, {count} operating point{'s' * (count != 1)}"


def _point(number: int, point: OperatingPoint, family: Family) -> dict[str, Any]:
    """Return one operating point: by channel its level now and when it was learned, and the scatter between windows."""
    baseline, levels = point.baseline, {}
    shown = baseline.count.shape == (len(feature_names(family)),)  # what was learned on other features says nothing
    for name, place in mean_places(family).items() if shown else ():
        count = float(baseline.count[place])
        if count > 0:
            level = float(baseline.total[place]) / count
            scatter = max(float(baseline.squares[place]) / count - level * level, 0.0) ** 0.5
            first = level if baseline.origin is None else float(baseline.origin[place])
            numbers = {"level": level, "learned": first, "scatter": scatter}
            rounded = {
                word: None if np.isnan(value) else float(f"{value:.{DECIMALS}g}") for word, value in numbers.items()
            }
            levels[name] = {**rounded, "unit": family.channels[name].unit}
    return {"number": number, "windows": round(float(baseline.count.max(initial=0.0)), 1), "channels": levels}
