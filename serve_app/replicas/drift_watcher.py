"""Reads what all gateways have answered once more, and keeps the drift of every system.

It lives beside the promoter, off every request's path; what cannot be read is passed over.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from pipelines.drift.fleet import FleetMonitor
from pipelines.drift.monitor import DriftState, watched_of
from pipelines.machines.family import family_names, read_family
from pipelines.promotion.backtest import readable
from serve_app.shared import logs
from serve_app.store.records import Seen
from serve_app.store.repository import Store

# Seconds between two looks, and windows read in one: a hundred a second, some hundredths of a core. Of more than that
# each look takes the first ones. Source: own choice.
LOOK_S, ROWS, PAGES = 5.0, 500, 20
MEMORY = timedelta(days=1)  # what a new watcher reads first, so that a restart forgets little


class DriftWatcher:
    """Keeps the drift of every system that is heard of."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches: dict[str, FleetMonitor] = {}
        self._answered = self._found = datetime.now(UTC) - MEMORY

    async def look(self) -> None:
        """Take in what was answered and found since the last look; the first one, of the day before.

        Raises:
            Unavailable: The database does not answer.
        """
        first = not self._watches
        for _ in range(PAGES if first else 1):
            if not await self._answers():
                break
        # Behind by more than a look: what lies between is let go, and today is watched.
        self._answered = max(self._answered, datetime.now(UTC) - timedelta(seconds=LOOK_S))
        for verified in await self._store.feedback.verified_since(self._found, ROWS):
            self._found = verified.created_at
            if verified.score is not None and verified.family in family_names():
                name = system_name(verified.tenant_id, verified.system_id)
                with logs.surviving("drift.unread", system=name):
                    self._watch(verified.family).confirm(name, verified.score, verified.truth)

    async def _answers(self) -> bool:
        """Take in the next answers; tell whether there may be more."""
        seen = await self._store.promotions.seen_since(self._answered, ROWS)
        by_family: defaultdict[str, list[Seen]] = defaultdict(list)
        for each in seen:
            by_family[each.family].append(each)
        if seen:  # whatever becomes of them, none is read again
            self._answered = seen[-1].created_at
        for family in by_family.keys() & set(family_names()):  # a family that was removed has answers yet
            with logs.surviving("drift.unread", family=family):
                self._take(family, by_family[family])
        return len(seen) == ROWS

    def _take(self, family: str, seen: Sequence[Seen]) -> None:
        read = [(each, *found) for each in seen if (found := readable(each.window, each.baseline))]
        if not read:
            return
        known, windows, normals = zip(*read, strict=True)
        scores = np.array([np.nan if each.score is None else each.score for each in known])
        names = [system_name(each.tenant_id, each.system_id) for each in known]
        self._watch(family).observe(names, watched_of(windows, read_family(family)), scores, normals)

    def _watch(self, family: str) -> FleetMonitor:
        if family not in self._watches:
            self._watches[family] = FleetMonitor(read_family(family))
        return self._watches[family]

    def states(self) -> dict[str, list[DriftState]]:
        """Return by family what is known of it, then of each system that drifts."""
        return {family: self._states(watch) for family, watch in self._watches.items()}

    def of(self, family: str) -> list[DriftState]:
        """Return what is known of a family; nothing while none of its windows has been seen."""
        watch = self._watches.get(family)
        return [] if watch is None else [watch.states()[0]]

    @staticmethod
    def _states(watch: FleetMonitor) -> list[DriftState]:
        whole, *systems = watch.states()
        return [whole, *(state for state in systems if state.drifting)]


def system_name(tenant_id: int, system_id: int) -> str:
    """Return what a system is called among those of all tenants."""
    return f"{tenant_id}/{system_id}"
