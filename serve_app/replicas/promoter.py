"""Leads new versions into the fleet, gate by gate, and sends them back: one replica beside the request path.

It reads aliases from the registry, hears all replicas, and writes each step into the registry. All that it knows lives
there: a promoter that dies is replaced by one that reads on. The registry is read afresh before anything is written.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from ray import serve

from configs.gates import read_gates
from configs.settings import Settings
from deployments.runtime.bind_address import keep_to_node_address
from pipelines.detectors.members import registry
from pipelines.drift.fleet import drifting
from pipelines.errors import ArtefactRejected
from pipelines.promotion.backtest import StoredWindow, run_backtest
from pipelines.promotion.gates import Evidence
from pipelines.promotion.mlflow_client import LIVE, PREVIOUS, Registry, request_promotion
from pipelines.promotion.rollout import (
    Assignment,
    ModelState,
    PromotionRequest,
    Report,
    Rollout,
    Transition,
    apply_transition,
    assignment_of,
    next_transition,
    seen_of,
)
from serve_app.replicas.drift_watcher import LOOK_S, DriftWatcher
from serve_app.sealing import Sealer
from serve_app.shared import logs
from serve_app.shared.fleet import FleetModel
from serve_app.shared.metrics import FleetMetrics
from serve_app.shared.registry_access import access_of
from serve_app.store.repository import Store

# A replica that has not reported for so long is gone. Source: own choice; it reports every second, and one report that
# times out takes two.
GONE_S = 5.0
HOLD_S = 1.0  # for which a replica waits for news; source: own choice, well under the time after which it is gone
UNWRITTEN_MAX = 1000  # notes that wait for the database; source: own choice, far more than models move in a day
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
        self._registry = Registry(access_of(settings))
        url = settings.database.url.get_secret_value()
        self._store = Store.open(url, 2, settings.database.waits, settings.archive_url)
        self._metrics = FleetMetrics()
        self._watcher = DriftWatcher(self._store)
        self._sealer = Sealer.of(self._store.seals, settings)
        self._poll_s, self._days = settings.models.poll_s, settings.retention
        self._gates = read_gates()
        self._states: dict[_Model, ModelState] = {}
        self._reports: dict[str, tuple[float, Report]] = {}
        self._candidates: dict[tuple[str, str], Evidence] = {}
        self._trying: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._alone = asyncio.Lock()
        self._woken = asyncio.Event()
        self._news = asyncio.Event()
        self._due = 0.0
        self._named: set[_Model] = set()
        # By model the step that the audit says is about to be taken, and notes that could not be written yet.
        self._intended: dict[str, tuple[str, str]] = {}
        self._unwritten: deque[tuple[str, str, str, str]] = deque(maxlen=UNWRITTEN_MAX)
        self._watching: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._begun = time.monotonic()

    async def check_health(self) -> None:
        """Keep watching; Ray calls this first when the replica starts."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_for_drift())
        self._store.retention.keep_up(self._days)
        self._sealer.keep_up(self._days.audit_days)

    async def _watch(self) -> None:
        while True:
            self._woken.clear()
            with logs.surviving("promotion.waits"):
                async with self._alone:
                    await self._go_round()
            with logs.surviving("promotion.unshown"):
                self._metrics.hold(self._fleet())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), max(self._due - time.monotonic(), LEAST_S))

    async def _go_round(self) -> None:
        """Read what is due, tell the replicas, and take a step of each model; one that fails holds up no other."""
        with logs.surviving("promotion.unnoted", notes=len(self._unwritten)):
            await self._write_notes()
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._poll_s
            await asyncio.gather(*map(self._read, registry()))
        for model in self._named & set(self._states):
            with logs.surviving("promotion.waits", model=self._states[model].name):
                await self._reread(model)
        self._named.clear()
        self._tell()
        for model, state in list(self._states.items()):
            with logs.surviving("promotion.waits", model=state.name):
                await self._step(model)

    async def _look_for_drift(self) -> None:
        while True:
            with logs.surviving("drift.waits"):
                await self._watcher.look()
            with logs.surviving("drift.unshown"):
                self._metrics.drift(self._watcher.states())
            await asyncio.sleep(LOOK_S)

    async def _read(self, detector: str) -> None:
        """Read what stands where, of all families' models of a detector; what was known stays where that fails."""
        with logs.surviving("promotion.waits", detector=detector):
            found = await asyncio.to_thread(self._registry.states, detector)
            others = {model: state for model, state in self._states.items() if model[0] != detector}
            self._states = others | {(detector, family): state for family, state in found.items()}

    async def _reread(self, model: _Model) -> None:
        """Read what stands where for one model.

        Raises:
            Unavailable: The registry does not answer.
        """
        self._states[model] = await asyncio.to_thread(self._registry.state, self._states[model].name)

    async def _step(self, model: _Model) -> None:
        """Take a model's next step, if there is one.

        Raises:
            Unavailable: The registry or the database does not answer.
        """
        if self._next(model).kind == "wait":
            return
        # The registry may have moved since it was read last.
        await self._reread(model)
        transition = self._next(model)
        if transition.kind == "wait":
            return
        state = self._states[model]
        if transition.kind == "finish" and (fault := await asyncio.to_thread(self._fault_of, state)):
            transition = Transition("back", transition.rollout, fault)
        stage = transition.rollout.stage if transition.rollout else ""
        logs.write("promotion", model=state.name, move=transition.kind, version=state.champion, stage=stage)
        await self._intend(state, transition)
        await asyncio.to_thread(self._act, state, transition)
        self._states[model] = apply_transition(state, transition)
        self._tell()
        await self._remember(model, state, transition)

    def _next(self, model: _Model) -> Transition:
        detector, family = model
        state, rollout = self._states[model], self._states[model].rollout
        settled = time.monotonic() - self._begun >= self._gates.settle_s
        reports = self._known(detector) if settled else []
        tried = None
        if rollout and rollout.version == state.champion != state.live:
            tried = self._candidates.get((state.name, rollout.version))
            if tried is None:
                self._start_backtest(family, state, rollout)
        return next_transition(state, reports, family, tried, self._gates, time.time())

    def _known(self, detector: str) -> list[Report]:
        """Return the last report of each replica that is there."""
        now = time.monotonic()
        self._reports = {name: kept for name, kept in self._reports.items() if now - kept[0] < GONE_S}
        return [report for _, report in self._reports.values() if report.detector == detector]

    def _start_backtest(self, family: str, state: ModelState, rollout: Rollout) -> None:
        """Begin to try a candidate on stored windows; once."""
        key = (state.name, rollout.version)
        if key not in self._trying:
            self._trying[key] = asyncio.create_task(self._backtest(family, state, rollout))

    async def _backtest(self, family: str, state: ModelState, rollout: Rollout) -> None:
        key = (state.name, rollout.version)
        try:
            spoken_of = await self._store.feedback.labelled(family, self._gates.history_windows)
            stored = [StoredWindow(each.window, each.baseline, each.truth) for each in spoken_of]
            stored += await self._store.promotions.recent(family, self._gates.history_windows)
            self._candidates[key] = await asyncio.to_thread(
                run_backtest, self._registry, family, state.name, (state.live, rollout.version), stored
            )
        except Exception as error:  # of registry, database or live version: no word against the candidate
            logs.write("promotion.backtest", logging.WARNING, error, model=state.name)
            await asyncio.sleep(self._poll_s)
        finally:
            self._trying.pop(key, None)

    def _fault_of(self, state: ModelState) -> str:
        """Return why no replica may use a model's champion; empty where they may.

        Raises:
            NotFound: The version is gone.
            Unavailable: The registry does not answer.
        """
        try:
            self._registry.fetch(self._registry.release(state.name, state.champion))
        except ArtefactRejected as error:
            return str(error)
        return ""

    def _act(self, state: ModelState, transition: Transition) -> None:
        """Write a step into the registry; each order of writes is safe to be cut short.

        Raises:
            Unavailable: The registry does not answer.
        """
        name = state.name
        match transition.kind:
            case "adopt":
                self._registry.point(name, LIVE, state.champion)
            case "begin" | "stage" | "drop":
                self._registry.begin(name, transition.rollout if transition.kind != "drop" else None)
            case "finish":
                self._registry.point(name, PREVIOUS, state.live)
                self._registry.point(name, LIVE, state.champion)
                if state.rollout:
                    self._registry.begin(name, None)
            case "back":
                self._registry.promote(name, state.live)
                self._registry.begin(name, None)

    async def _remember(self, model: _Model, before: ModelState, transition: Transition) -> None:
        """Count a step that changes who answers, and write why into the registry and the audit."""
        if transition.kind not in ("begin", "stage"):
            self._candidates.pop((before.name, before.champion), None)
        if transition.kind in ("finish", "back"):
            outcome = "live" if transition.kind == "finish" else "sent back"
            self._metrics.moved(*model, outcome)
            why = {
                "rollout": outcome,
                "rollout_reason": transition.reason,
                "rollout_at": datetime.now(UTC).isoformat(timespec="seconds"),
                # What the gates compared was of a time when the family drifted, or not.
                "rollout_drift": "; ".join(drifting(self._watcher.of(model[1]))),
            }
            with logs.surviving("promotion.unnoted", model=before.name):
                await asyncio.to_thread(self._registry.note, before.name, before.champion, **why)
            self._intended.pop(before.name, None)
            self._unwritten.append(_note_of(before, transition, f"model.{transition.kind}"))
            with logs.surviving("promotion.unnoted", notes=len(self._unwritten)):
                await self._write_notes()

    async def _intend(self, before: ModelState, transition: Transition) -> None:
        """Write into the audit that who answers is about to change, once; a version is sent back without it, too.

        Raises:
            Unavailable: The database does not answer: nothing goes live that the audit does not know of.
        """
        step = before.champion, transition.kind
        if transition.kind not in ("finish", "back") or self._intended.get(before.name) == step:
            return
        note = _note_of(before, transition, f"model.{transition.kind}.begun")
        try:
            await self._store.audit.note(None, *note)
        except Exception as error:
            if transition.kind == "finish":
                raise
            logs.write("promotion.unnoted", logging.WARNING, error, model=before.name)
            self._unwritten.append(note)
        self._intended[before.name] = step

    async def _write_notes(self) -> None:
        """Write the notes that wait.

        Raises:
            Unavailable: The database does not answer; they wait on.
        """
        while self._unwritten:
            await self._store.audit.note(None, *self._unwritten[0])
            self._unwritten.popleft()

    async def report(self, report: Report) -> Mapping[str, Assignment]:
        """Take what a replica says, and tell it what to do; nothing while nothing is known.

        While no version is on its way in, a replica hears when there is news, or after a while that there is none.
        """
        self._reports[report.replica] = (time.monotonic(), report)
        if any(state.champion != state.live for state in self._states.values()):
            self._woken.set()
        before = self._assignments(report.detector)
        if before and not any(assignment.candidate for assignment in before.values()):
            with suppress(TimeoutError):
                async with asyncio.timeout(HOLD_S):
                    while self._assignments(report.detector) == before:
                        await self._news.wait()
        return self._assignments(report.detector)

    def _assignments(self, detector: str) -> dict[str, Assignment]:
        return {
            family: assignment_of(state, self._gates)
            for (known, family), state in self._states.items()
            if known == detector
        }

    def _tell(self) -> None:
        """Wake the replicas that wait for news."""
        self._news.set()
        self._news = asyncio.Event()

    async def look(self, name: str = "") -> None:
        """Read the registry now: somebody says that it has changed, and perhaps of which model."""
        named = {model for model, state in self._states.items() if state.name == name}
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
        for (detector, family), state in sorted(self._states.items()):
            reports = self._known(detector)
            held = Counter(status.version for each in reports for status in each.statuses if status.family == family)
            rollout = state.rollout
            evidence = seen_of(rollout, reports, family) if rollout else None
            found.append(FleetModel(family, detector, state, dict(held), evidence, drift.get(family, ())))
        return found

    async def request(self, request: PromotionRequest) -> str:
        """Move a model as asked; return the version that shall answer.

        Raises:
            NotFound: There is no such model or version.
            Conflict: There is nothing to go back to.
            Unavailable: The registry does not answer.
        """
        async with self._alone:
            version = await asyncio.to_thread(request_promotion, self._registry, request)
        await self.look(request.name)
        return version


def _note_of(before: ModelState, transition: Transition, action: str) -> tuple[str, str, str, str]:
    """Return what the audit says of a step: by whom, what, of which model, and why."""
    actor = transition.rollout.actor if transition.rollout and transition.rollout.actor else "registry"
    return actor, action, before.name, f"{before.live} -> {before.champion}: {transition.reason}"
