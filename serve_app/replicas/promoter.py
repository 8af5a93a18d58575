"""Beside the request path: the one replica that leads new versions into the fleet, and sends them back.

Exists so that an alias moved in MLflow is followed by all replicas together, gate by gate, and by nobody's hand.

All that it knows lives in the registry; a promoter that dies is replaced by one that reads on. What the registry says
is read afresh before anything is written.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from ray import serve

from configs.gates import read_gates
from configs.settings import Settings
from deployments.runtime.bind_address import keep_to_node_address
from pipelines.detectors.members import registry
from pipelines.drift.fleet import drifting
from pipelines.errors import HdxError
from pipelines.promotion.backtest import Tried, rehearse
from pipelines.promotion.gates import Evidence
from pipelines.promotion.mlflow_client import LIVE, PREVIOUS, Registry, wanted
from pipelines.promotion.rollout import (
    Course,
    Move,
    Report,
    Rollout,
    Standing,
    Wish,
    course_of,
    moved,
    next_move,
    seen_of,
)
from serve_app.replicas.drift_watcher import LOOK_S, Watcher
from serve_app.shared import logs
from serve_app.shared.fleet import FleetModel
from serve_app.shared.metrics import FleetMetrics
from serve_app.store.repository import Store

# A replica that has not reported for so long is gone. Source: own choice; it reports every second, and one report that
# times out takes two.
GONE_S = 5.0
HOLD_S = 1.0  # for which a replica waits for news; source: own choice, well under the time after which it is gone
LEAST_S = 0.05  # between two looks at what is known, however often replicas report

_Model = tuple[str, str]  # detector, family


@serve.deployment
class Promoter:
    """Watches every model's alias, asks all replicas what they see, and takes one step after the other."""

    def __init__(self, settings: Settings) -> None:
        keep_to_node_address()
        logs.configure(settings)
        if settings.database.url is None:
            raise ValueError("HDX_DATABASE__URL is not set; `hdx run` sets it to the embedded PostgreSQL")
        self._registry = Registry(settings.tracking_url, settings.models.alias)
        self._store = Store.open(settings.database.url.get_secret_value(), 2)
        self._metrics = FleetMetrics()
        self._watcher = Watcher(self._store)
        self._poll_s = settings.models.poll_s
        self._gates = read_gates()
        self._standings: dict[_Model, Standing] = {}
        self._reports: dict[str, tuple[float, Report]] = {}
        self._tried: dict[tuple[str, str], Evidence] = {}
        self._trying: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._alone = asyncio.Lock()
        self._woken = asyncio.Event()
        self._news = asyncio.Event()
        self._due = 0.0
        self._named: set[_Model] = set()
        self._watching: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._begun = time.monotonic()

    async def check_health(self) -> None:
        """Keep watching; Ray calls this first when the replica starts."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_for_drift())

    async def _watch(self) -> None:
        while True:
            self._woken.clear()
            try:
                async with self._alone:
                    if time.monotonic() >= self._due:
                        self._due = time.monotonic() + self._poll_s
                        await self._read()
                    for model in self._named & set(self._standings):
                        await self._reread(model)
                    self._named.clear()
                    self._tell()
                    for model in list(self._standings):
                        await self._step(model)
            except HdxError as error:
                logs.write("promotion.waits", logging.WARNING, error)
            self._metrics.hold(self._fleet())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), max(self._due - time.monotonic(), LEAST_S))

    async def _look_for_drift(self) -> None:
        while True:
            try:
                await self._watcher.look()
            except HdxError as error:
                logs.write("drift.waits", logging.WARNING, error)
            self._metrics.drift(self._watcher.states())
            await asyncio.sleep(LOOK_S)

    async def _read(self) -> None:
        """Read what stands where, of all detectors at once.

        Raises:
            Unavailable: The registry does not answer.
        """
        reads = (asyncio.to_thread(self._registry.standings, detector) for detector in registry())
        found = zip(registry(), await asyncio.gather(*reads), strict=True)
        self._standings = {(detector, family): each for detector, by in found for family, each in by.items()}

    async def _reread(self, model: _Model) -> None:
        """Read what stands where for one model.

        Raises:
            Unavailable: The registry does not answer.
        """
        self._standings[model] = await asyncio.to_thread(self._registry.standing, self._standings[model].name)

    async def _step(self, model: _Model) -> None:
        """Take a model's next step, if there is one.

        Raises:
            Unavailable: The registry or the database does not answer.
        """
        if self._next(model).kind == "wait":
            return
        # The registry may have moved since it was read last.
        await self._reread(model)
        move = self._next(model)
        if move.kind == "wait":
            return
        standing = self._standings[model]
        stage = move.rollout.stage if move.rollout else ""
        logs.write("promotion", model=standing.name, move=move.kind, version=standing.champion, stage=stage)
        await asyncio.to_thread(self._act, standing, move)
        self._standings[model] = moved(standing, move)
        self._tell()
        await self._remember(model, standing, move)

    def _next(self, model: _Model) -> Move:
        detector, family = model
        standing, rollout = self._standings[model], self._standings[model].rollout
        settled = time.monotonic() - self._begun >= self._gates.settle_s
        reports = self._known(detector) if settled else []
        tried = None
        if rollout and rollout.version == standing.champion != standing.live:
            tried = self._tried.get((standing.name, rollout.version))
            if tried is None:
                self._try(family, standing, rollout)
        return next_move(standing, reports, family, tried, self._gates, time.time())

    def _known(self, detector: str) -> list[Report]:
        """Return the last report of each replica that is there."""
        now = time.monotonic()
        self._reports = {name: kept for name, kept in self._reports.items() if now - kept[0] < GONE_S}
        return [report for _, report in self._reports.values() if report.detector == detector]

    def _try(self, family: str, standing: Standing, rollout: Rollout) -> None:
        """Begin to try a candidate on stored windows; once."""
        key = (standing.name, rollout.version)
        if key not in self._trying:
            self._trying[key] = asyncio.create_task(self._rehearse(family, standing, rollout))

    async def _rehearse(self, family: str, standing: Standing, rollout: Rollout) -> None:
        key = (standing.name, rollout.version)
        try:
            spoken_of = await self._store.labelled(family, self._gates.history_windows)
            stored = [Tried(each.window, each.baseline, each.truth) for each in spoken_of]
            stored += await self._store.recent(family, self._gates.history_windows)
            self._tried[key] = await asyncio.to_thread(
                rehearse, self._registry, family, standing.name, (standing.live, rollout.version), stored
            )
        except HdxError as error:
            logs.write("promotion.rehearsal", logging.WARNING, error, model=standing.name)
            await asyncio.sleep(self._poll_s)
        except Exception as error:  # whatever a new version raises is a reason to send it back
            logs.write("promotion.rehearsal", logging.WARNING, error, model=standing.name)
            self._tried[key] = Evidence(family, rollout.version, errors=1)
        finally:
            self._trying.pop(key, None)

    def _act(self, standing: Standing, move: Move) -> None:
        """Write a step into the registry; each order of writes is safe to be cut short.

        Raises:
            Unavailable: The registry does not answer.
        """
        name = standing.name
        match move.kind:
            case "adopt":
                self._registry.point(name, LIVE, standing.champion)
            case "begin" | "stage" | "drop":
                self._registry.begin(name, move.rollout if move.kind != "drop" else None)
            case "finish":
                self._registry.point(name, PREVIOUS, standing.live)
                self._registry.point(name, LIVE, standing.champion)
                if standing.rollout:
                    self._registry.begin(name, None)
            case "back":
                self._registry.promote(name, standing.live)
                self._registry.begin(name, None)

    async def _remember(self, model: _Model, before: Standing, move: Move) -> None:
        """Count a step that changes who answers, and write why into the registry and the audit."""
        if move.kind not in ("begin", "stage"):
            self._tried.pop((before.name, before.champion), None)
        if move.kind in ("finish", "back"):
            outcome = "live" if move.kind == "finish" else "sent back"
            self._metrics.moved(*model, outcome)
            why = {
                "rollout": outcome,
                "rollout_reason": move.reason,
                "rollout_at": datetime.now(UTC).isoformat(timespec="seconds"),
                # What the gates compared was of a time when the family drifted, or not.
                "rollout_drift": "; ".join(drifting(self._watcher.of(model[1]))),
            }
            await asyncio.to_thread(self._registry.note, before.name, before.champion, **why)
            actor = move.rollout.actor if move.rollout and move.rollout.actor else "registry"
            detail = f"{before.live} -> {before.champion}: {move.reason}"
            await self._store.note_platform(actor, f"model.{move.kind}", before.name, detail)

    async def report(self, report: Report) -> Mapping[str, Course]:
        """Take what a replica says, and tell it what to do; nothing while nothing is known.

        While no version is on its way in, a replica hears when there is news, or after a while that there is none.
        """
        self._reports[report.replica] = (time.monotonic(), report)
        if any(standing.champion != standing.live for standing in self._standings.values()):
            self._woken.set()
        before = self._courses(report.detector)
        if before and not any(course.candidate for course in before.values()):
            with suppress(TimeoutError):
                async with asyncio.timeout(HOLD_S):
                    while self._courses(report.detector) == before:
                        await self._news.wait()
        return self._courses(report.detector)

    def _courses(self, detector: str) -> dict[str, Course]:
        return {
            family: course_of(standing, self._gates)
            for (known, family), standing in self._standings.items()
            if known == detector
        }

    def _tell(self) -> None:
        """Wake the replicas that wait for news."""
        self._news.set()
        self._news = asyncio.Event()

    async def look(self, name: str = "") -> None:
        """Read the registry now: somebody says that it has changed, and perhaps of which model."""
        named = {model for model, standing in self._standings.items() if standing.name == name}
        self._named |= named
        if not named:
            self._due = 0.0
        self._woken.set()

    async def fleet(self) -> Sequence[FleetModel]:
        """Say of every model what stands where, and what its replicas hold."""
        return self._fleet()

    def _fleet(self) -> list[FleetModel]:
        found = []
        drift = self._watcher.states()
        for (detector, family), standing in sorted(self._standings.items()):
            reports = self._known(detector)
            held = Counter(status.version for each in reports for status in each.statuses if status.family == family)
            rollout = standing.rollout
            evidence = seen_of(rollout, reports, family) if rollout else None
            found.append(FleetModel(family, detector, standing, dict(held), evidence, drift.get(family, ())))
        return found

    async def move(self, wish: Wish) -> str:
        """Move a model as asked; return the version that shall answer.

        Raises:
            NotFound: There is no such model or version.
            Conflict: There is nothing to go back to.
            Unavailable: The registry does not answer.
        """
        async with self._alone:
            version = await asyncio.to_thread(wanted, self._registry, wish)
        await self.look(wish.name)
        return version
