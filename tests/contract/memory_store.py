"""The store in memory: what routes are tested on without PostgreSQL; `test_store_parts` holds both to one suite."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pipelines.errors import Conflict, InvalidInput, NotFound
from pipelines.machines.alarm import ABSTAINED
from pipelines.machines.commissioning import Learned, Normal, State
from pipelines.machines.definition import are_other_channels, spoken_otherwise
from pipelines.machines.family import OWN_MARK, digest_of
from serve_app.shared.checkpoints import KeptCheckpoint
from serve_app.store.diagnoses import finding_of
from serve_app.store.families import FAMILIES_MAX, VERSIONS_MAX, unit_kept
from serve_app.store.life import ANEW, changes_to, commissioned, follow, happened
from serve_app.store.readings import check_all, check_bounds
from serve_app.store.records import (
    COMMAND_LINE,
    Account,
    ApiKey,
    Finding,
    Kept,
    Limits,
    Note,
    Principal,
    Quarantined,
    Reading,
    Series,
    Stored,
    StoredDiagnosis,
    StoredDocument,
    StoredFamily,
    StoredFeedback,
    Suspect,
    System,
    Verdict,
)
from serve_app.store.records_answers import AnswerFeedback, Cited, Helpfulness, SpokenOf
from serve_app.store.records_audit import ALL, Wanted
from serve_app.store.records_watching import Event, Happened, Watch
from serve_app.store.spans import in_order, representative, width_of
from serve_app.store.watches import JUST_BEFORE
from tests.contract.memory_identities import MemoryIdentities, MemoryInvitations
from tests.contract.memory_jobs import MemoryJobs
from tests.contract.memory_keyring import MemoryKeyring
from tests.contract.memory_people import BEGAN, MemoryAccounts, MemoryKeys, MemorySessions, MemoryTenants
from tests.contract.memory_rates import MemoryRates
from tests.contract.memory_token_keys import MemoryTokenKeys


@dataclass
class Rows:
    """What is kept, for the parts and for tests that look at it."""

    tenant_ids: dict[str, int] = field(default_factory=dict)
    people: dict[int, Account] = field(default_factory=dict)
    principals: dict[bytes, Principal] = field(default_factory=dict)
    withdrawn: dict[int, int] = field(default_factory=dict)
    listed_keys: dict[int, tuple[int, bytes, ApiKey]] = field(default_factory=dict)
    owned: dict[int, tuple[int, System]] = field(default_factory=dict)
    defined: dict[tuple[int, str], list[StoredFamily]] = field(default_factory=dict)
    removed: dict[tuple[int, str], int] = field(default_factory=dict)
    normals: dict[int, Normal] = field(default_factory=dict)
    recorded: list[tuple[int, StoredDiagnosis, Learned | None]] = field(default_factory=list)
    audited: list[tuple[int | None, str, str, str]] = field(default_factory=list)
    notes: list[tuple[int | None, Note]] = field(default_factory=list)
    checkpoints: dict[int | None, KeptCheckpoint] = field(default_factory=dict)
    tokens: dict[UUID, tuple[int, UUID, datetime]] = field(default_factory=dict)
    begun: dict[UUID, datetime] = field(default_factory=dict)
    used: dict[UUID, datetime] = field(default_factory=dict)
    ended_families: set[UUID] = field(default_factory=set)
    consulted: dict[tuple[int, UUID], Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    kept_documents: dict[tuple[int, str], StoredDocument] = field(default_factory=dict)
    said: dict[tuple[int, UUID], StoredFeedback] = field(default_factory=dict)
    answered: dict[tuple[int, UUID], tuple[str, Sequence[Cited], bool]] = field(default_factory=dict)
    rated: dict[tuple[int, UUID, str], AnswerFeedback] = field(default_factory=dict)
    values: dict[tuple[int, str, datetime], float] = field(default_factory=dict)
    suspects: dict[tuple[int, Suspect], Quarantined] = field(default_factory=dict)
    watched: dict[int, Watch] = field(default_factory=dict)
    happened: list[tuple[int, Event]] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)

    def tell(self, tenant_id: int, happened: Iterable[Happened]) -> None:
        for each in happened:
            now = datetime.now(UTC)
            event = Event(
                len(self.happened) + 1, each.system_id, each.at or now, each.kind, each.text, each.trace_id, now
            )
            self.happened.append((tenant_id, event))


class MemoryFamilies:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = self._store = store

    def _versions(self, tenant_id: int, name: str) -> list[StoredFamily]:
        return self._rows.defined.get((tenant_id, name), [])

    def _chosen(self, tenant_id: int, name: str) -> list[StoredFamily]:
        gone = self._rows.removed.get((tenant_id, name), 0)
        return [each for each in self._versions(tenant_id, name) if each.version > gone]

    async def page(self, tenant_id: int, after: str = "", limit: int = 100) -> Sequence[StoredFamily]:
        names = sorted(name for tenant, name in self._rows.defined if tenant == tenant_id and name > after)
        return [chosen[-1] for name in names if (chosen := self._chosen(tenant_id, name))][:limit]

    async def get(self, tenant_id: int, name: str, version: int | None = None) -> StoredFamily:
        chosen = [each for each in self._chosen(tenant_id, name) if version in (None, each.version)]
        if not chosen:
            raise NotFound("family", name if version is None else f"{name} in version {version}")
        return chosen[-1]

    async def of_key(self, tenant_id: int, key: str) -> StoredFamily:
        name, _, digest = key.partition(OWN_MARK)
        same = [each for each in self._versions(tenant_id, name) if digest_of(each.definition) == digest]
        if not same:
            raise NotFound("family", name)
        return same[-1]

    async def add(self, tenant_id: int, name: str, definition: str, actor: str = COMMAND_LINE) -> StoredFamily:
        if self._chosen(tenant_id, name):
            raise Conflict("family", name)
        if (known := len(await self.page(tenant_id, limit=FAMILIES_MAX))) >= FAMILIES_MAX:
            raise InvalidInput("name", name, f"would be one family more than {FAMILIES_MAX}, there are {known}")
        return await self._write(tenant_id, name, definition, actor, "family.added")

    async def change(self, tenant_id: int, name: str, definition: str, actor: str = COMMAND_LINE) -> StoredFamily:
        now = await self.get(tenant_id, name)
        same = now.definition == definition
        others = spoken_otherwise((each.definition for each in self._chosen(tenant_id, name)), definition)
        own = tenant_id, name
        owners = {number for number, (tenant, each) in self._rows.owned.items() if (tenant, each.family) == own}
        for number, channel, _ in self._rows.values:
            if number in owners and channel in others:
                raise unit_kept(number, channel, others)
        if not same and are_other_channels(now.definition, definition):
            for tenant, system in list(self._rows.owned.values()):
                if (tenant, system.family) == (tenant_id, name):
                    self._store.systems._set(tenant_id, system, {**ANEW, "limits": {}})
        return now if same else await self._write(tenant_id, name, definition, actor, "family.changed")

    async def _write(self, tenant_id: int, name: str, definition: str, actor: str, action: str) -> StoredFamily:
        known = self._rows.defined.setdefault((tenant_id, name), [])
        if len(known) >= VERSIONS_MAX:
            rule = f"must be at most {VERSIONS_MAX}: define a family of another name"
            raise InvalidInput("version", len(known) + 1, rule)
        known.append(StoredFamily(name, len(known) + 1, definition, actor, datetime.now(UTC)))
        await self._store.audit.note(tenant_id, actor, action, f"family {name}", f"version {len(known)}")
        return known[-1]

    async def remove(self, tenant_id: int, name: str, actor: str = COMMAND_LINE) -> None:
        await self.get(tenant_id, name)
        for tenant, system in self._rows.owned.values():
            if tenant == tenant_id and system.family == name:
                raise Conflict("family", name, f"must be of no system; system {system.system_id} is of it")
        self._rows.removed[tenant_id, name] = len(self._versions(tenant_id, name))
        await self._store.audit.note(tenant_id, actor, "family.removed", f"family {name}", "")


class MemorySystems:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = self._store = store

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> Sequence[System]:
        owned = self._rows.owned.values()
        return [system for tenant, system in owned if tenant == tenant_id and system.system_id > after][:limit]

    async def get(self, tenant_id: int, system_id: int) -> System:
        tenant, system = self._rows.owned.get(system_id, (0, None))
        if system is None or tenant != tenant_id:
            raise NotFound("system", system_id)
        return system

    async def machine(self, tenant_id: int, system_id: int) -> tuple[System, Normal | None]:
        return await self.get(tenant_id, system_id), self._rows.normals.get(system_id)

    async def add(self, tenant_id: int, name: str, family: str, description: str, actor: str = COMMAND_LINE) -> System:
        system_id = max(self._rows.owned, default=0) + 1
        now = datetime.now(UTC)
        system = System(system_id, name, family, description, False, now, commissioned_since=now)
        self._rows.owned[system_id] = (tenant_id, system)
        await self._store.audit.note(tenant_id, actor, "system.added", f"system {system_id}", name)
        return system

    async def change(
        self,
        tenant_id: int,
        system_id: int,
        name: str | None = None,
        description: str | None = None,
        actor: str = COMMAND_LINE,
        state: State | None = None,
        limits: Limits | None = None,
    ) -> System:
        system = await self.get(tenant_id, system_id)
        given = {"name": name, "description": description, "state": state, "limits": limits}
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        detail = ", ".join(f"state {state}" if key == "state" else key for key in sorted(changes))
        if state is not None:
            changes |= changes_to(system, state, system_id in self._rows.normals)
        changed = self._set(tenant_id, system, changes)
        await self._store.audit.note(tenant_id, actor, "system.changed", f"system {system_id}", detail)
        return changed

    def _set(self, tenant_id: int, system: System, changes: Mapping[str, Any]) -> System:
        changed = replace(system, **changes)
        if changes.get("state") == "commissioning":
            self._rows.normals.pop(system.system_id, None)
            changed = replace(changed, commissioned_since=datetime.now(UTC))
        self._rows.owned[system.system_id] = (tenant_id, changed)
        self._rows.tell(tenant_id, happened(system, changed))
        return changed

    async def commission(
        self,
        tenant_id: int,
        system_id: int,
        normal: Normal,
        windows: int,
        detail: str = "",
        actor: str = COMMAND_LINE,
        since: datetime | None = None,
    ) -> bool:
        system = await self.get(tenant_id, system_id)
        if since is not None and (system.state, system.commissioned_since) != ("commissioning", since):
            return False
        self._set(tenant_id, system, commissioned(system, windows))
        self._rows.normals[system_id] = normal
        await self._store.audit.note(tenant_id, actor, "system.commissioned", f"system {system_id}", detail)
        return True

    async def amend(
        self, tenant_id: int, system_id: int, change: Callable[[Normal], Normal], detail: str, actor: str = COMMAND_LINE
    ) -> Normal:
        await self.get(tenant_id, system_id)
        if system_id not in self._rows.normals:
            raise InvalidInput("accept", system_id, "must be a system that was commissioned")
        self._rows.normals[system_id] = change(self._rows.normals[system_id])
        await self._store.audit.note(tenant_id, actor, "system.accepted", f"system {system_id}", detail)
        return self._rows.normals[system_id]

    async def forget(self, tenant_id: int, system_id: int, actor: str = COMMAND_LINE) -> System:
        changed = self._set(tenant_id, await self.get(tenant_id, system_id), ANEW)
        await self._store.audit.note(tenant_id, actor, "system.forgotten", f"system {system_id}", "")
        return changed

    async def delete(self, tenant_id: int, system_id: int, actor: str = COMMAND_LINE) -> None:
        await self.get(tenant_id, system_id)
        await self._store.audit.note(tenant_id, actor, "system.deleted", f"system {system_id}", "")
        del self._rows.owned[system_id]
        self._rows.recorded = [row for row in self._rows.recorded if row[1].system_id != system_id]


class MemoryDiagnoses:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = store

    async def record(
        self,
        tenant_id: int,
        diagnosis: StoredDiagnosis,
        learned: Learned | None,
        alarm: bool | None = None,
        level: int = ABSTAINED,
        answer: Callable[[System], bytes] | None = None,
    ) -> Kept:
        tenant, system = self._rows.owned.get(diagnosis.system_id, (0, None))
        if system is None or tenant != tenant_id:
            raise NotFound("system", diagnosis.system_id)
        if any(stored.trace_id == diagnosis.trace_id for _, stored, _ in self._rows.recorded):
            raise Conflict("trace_id", diagnosis.trace_id)
        at = diagnosis.window_end or diagnosis.created_at
        now, counts = follow(system, diagnosis, level, alarm)
        self._rows.tell(tenant_id, happened(system, now, at, diagnosis.trace_id))
        kept = Kept(now, diagnosis.answer if answer is None else answer(now), counts)
        self._rows.idempotency.mark()
        self._rows.recorded.append((tenant_id, replace(diagnosis, answer=kept.answer, counted=counts), learned))
        self._rows.owned[diagnosis.system_id] = (tenant, now)
        known = self._rows.normals.get(diagnosis.system_id)
        if counts and learned is not None and known is not None and now.state == "monitoring":
            self._rows.normals[diagnosis.system_id] = known.learning(learned)
        return kept

    async def newest(
        self, tenant_id: int, system_id: int, limit: int, begin: datetime | None = None, end: datetime | None = None
    ) -> Sequence[Mapping[str, Any]]:
        own = [kept for owner, kept, _ in self._rows.recorded if (owner, kept.system_id) == (tenant_id, system_id)]
        within = [
            kept
            for kept in own
            if kept.counted and (begin is None or kept.created_at >= begin) and (end is None or kept.created_at <= end)
        ]
        return [kept.window for kept in sorted(within, key=lambda kept: kept.created_at)[-limit:]]

    async def ends(self, tenant_id: int, system_id: int, begin: datetime, end: datetime) -> set[datetime]:
        return {
            kept.window_end
            for owner, kept, _ in self._rows.recorded
            if (owner, kept.system_id) == (tenant_id, system_id) and kept.counted
            if kept.window_end is not None and begin < kept.window_end <= end
        }

    async def known(self, tenant_id: int, trace_ids: Sequence[UUID]) -> set[UUID]:
        return {kept.trace_id for owner, kept, _ in self._rows.recorded if owner == tenant_id} & set(trace_ids)

    async def windows(self, tenant_id: int, system_id: int, trace_ids: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
        found = [await self.get(tenant_id, trace_id) for trace_id in trace_ids]
        for kept in found:
            if kept.system_id != system_id:
                raise NotFound("diagnosis", kept.trace_id)
        return [kept.window for kept in found]

    async def get(self, tenant_id: int, trace_id: UUID) -> StoredDiagnosis:
        for tenant, stored, _ in self._rows.recorded:
            if tenant == tenant_id and stored.trace_id == trace_id:
                return stored
        raise NotFound("diagnosis", trace_id)

    async def last(self, tenant_id: int, system_id: int) -> StoredDiagnosis | None:
        own = [kept for owner, kept, _ in self._rows.recorded if (owner, kept.system_id) == (tenant_id, system_id)]
        return own[-1] if own else None

    async def findings(self, tenant_id: int, system_id: int, since: datetime) -> Sequence[Finding]:
        own = [
            kept
            for owner, kept, _ in self._rows.recorded
            if (owner, kept.system_id) == (tenant_id, system_id) and kept.created_at >= since
        ]
        found = []
        for kept in sorted(own, key=lambda kept: kept.created_at, reverse=True):
            prediction = kept.read_answer()["prediction"]
            said = self._rows.said.get((tenant_id, kept.trace_id))
            if prediction["is_anomaly"]:
                verdict, note = (said.verdict, said.note) if said else (None, "")
                found.append(finding_of(kept.trace_id, kept.created_at, prediction, verdict, note))
        return found

    async def consult(self, tenant_id: int, trace_id: UUID, passages: Sequence[Mapping[str, Any]]) -> None:
        self._rows.consulted[tenant_id, trace_id] = passages

    async def passages(self, tenant_id: int, trace_id: UUID) -> Sequence[Mapping[str, Any]]:
        return self._rows.consulted.get((tenant_id, trace_id), [])


class MemoryReadings:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = self._store = store

    async def add(
        self,
        tenant_id: int,
        system_id: int,
        rows: Sequence[Reading],
        suspects: Sequence[Suspect] = (),
        actor: str = COMMAND_LINE,
    ) -> Stored:
        check_bounds(len(rows) + len(suspects), {row.at.astimezone(UTC).date() for row in rows})
        await self._store.systems.get(tenant_id, system_id)
        self._store.idempotency.mark()
        counts = {"written": 0, "unchanged": 0, "corrected": 0}
        for channel, at, value in rows:
            before = self._rows.values.get((system_id, channel, at))
            counts["written" if before is None else "unchanged" if before == value else "corrected"] += 1
            self._rows.values[system_id, channel, at] = value
        for suspect in suspects:
            number = len(self._rows.suspects) + 1
            self._rows.suspects.setdefault((system_id, suspect), Quarantined(number, *suspect, created_at=BEGAN))
        if counts["corrected"]:
            moments = [row.at for row in rows]
            detail = f"{counts['corrected']} values between {min(moments).isoformat()} and {max(moments).isoformat()}"
            await self._store.audit.note(tenant_id, actor, "readings.corrected", f"system {system_id}", detail)
        if counts["written"] or counts["corrected"]:
            first, last = min(row.at for row in rows), max(row.at for row in rows)
            self._arrived(system_id, first, last)
        return Stored(**counts, quarantined=len(suspects))

    def _arrived(self, system_id: int, first: datetime, last: datetime) -> None:
        watch = self._rows.watched.setdefault(system_id, Watch(first - JUST_BEFORE, first - JUST_BEFORE, first))
        if first <= watch.read_until:
            end = min(last, watch.read_until)
            late = min(first, watch.late_from or first), max(end, watch.late_to or end)
            self._rows.watched[system_id] = watch._replace(late_from=late[0], late_to=late[1])

    async def span(
        self,
        tenant_id: int,
        system_id: int,
        begin: datetime,
        end: datetime,
        points: int,
        channels: Sequence[str] | None = None,
        archived: bool = False,
    ) -> Sequence[Series]:
        owner, _ = self._rows.owned.get(system_id, (0, None))
        held: dict[str, list[tuple[datetime, float]]] = {}
        for (system, name, at), value in self._rows.values.items():
            wanted = (system, owner) == (system_id, tenant_id) and (channels is None or name in channels)
            if wanted and begin <= at < end:
                held.setdefault(name, []).append((at, value))
        width, found = width_of(begin, end, points), []
        for name, all_points in sorted(held.items()):
            parts: dict[int, list[tuple[datetime, float]]] = {}
            for point in all_points:
                parts.setdefault((point[0] - begin) // width, []).append(point)
            thinned = [point for part in parts.values() for point in representative(part)]
            shown = all_points if len(all_points) <= points else thinned
            found.append(Series(name, len(all_points), in_order(shown)))
        return found

    async def newest(self, tenant_id: int, system_id: int, channels: Sequence[str], until: datetime) -> datetime | None:
        owner, _ = self._rows.owned.get(system_id, (0, None))
        own = (
            at
            for system, name, at in self._rows.values
            if (system, owner) == (system_id, tenant_id) and name in channels and at <= until
        )
        return max(own, default=None)

    async def quarantined(
        self, tenant_id: int, system_id: int, after: int = 0, limit: int = 100
    ) -> Sequence[Quarantined]:
        owner, _ = self._rows.owned.get(system_id, (0, None))
        own = [kept for (system, _), kept in self._rows.suspects.items() if (system, owner) == (system_id, tenant_id)]
        waiting = [kept for kept in own if kept.quarantine_id not in self._rows.settled]
        return [kept for kept in waiting if kept.quarantine_id > after][:limit]

    async def set_aside(self, tenant_id: int, system_id: int, numbers: Sequence[int]) -> Sequence[Quarantined]:
        waiting = await self.quarantined(tenant_id, system_id, limit=len(self._rows.suspects))
        found = [kept for kept in waiting if kept.quarantine_id in numbers]
        check_all(numbers, {kept.quarantine_id for kept in found})
        return found

    async def settle(
        self,
        tenant_id: int,
        system_id: int,
        accepted: Mapping[int, Reading],
        dismissed: Sequence[int] = (),
        actor: str = COMMAND_LINE,
    ) -> None:
        await self.set_aside(tenant_id, system_id, [*accepted, *dismissed])
        await self.add(tenant_id, system_id, list(accepted.values()), actor=actor)
        self._rows.settled |= {*accepted, *dismissed}
        for decision, numbers in (("accepted", list(accepted)), ("dismissed", dismissed)):
            if numbers:
                detail = f"{len(numbers)} values that were set aside, {min(numbers)} to {max(numbers)}"
                await self._store.audit.note(tenant_id, actor, f"readings.{decision}", f"system {system_id}", detail)


class MemoryWatches:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def get(self, tenant_id: int, system_id: int) -> Watch | None:
        owner, system = self._rows.owned.get(system_id, (0, None))
        watch = self._rows.watched.get(system_id) if owner == tenant_id else None
        return watch._replace(family=system.family) if watch and system else None

    async def take(self, tenant_id: int, system_id: int, until: datetime) -> None:
        watch = self._rows.watched[system_id]
        self._rows.watched[system_id] = watch._replace(read_until=max(until, watch.read_until))

    async def judged(self, tenant_id: int, system_id: int, until: datetime, due: datetime) -> None:
        watch = self._rows.watched[system_id]
        self._rows.watched[system_id] = watch._replace(judged_until=max(until, watch.judged_until), due=due)

    async def take_late(self, tenant_id: int, system_id: int) -> Watch:
        watch = self._rows.watched[system_id]
        begun = [at for at in (watch.again_from, watch.late_from) if at is not None]
        ended = [at for at in (watch.again_to, watch.late_to) if at is not None]
        again = min(begun, default=None), max(ended, default=None)
        told = watch.late_told and watch.again_from is not None
        self._rows.watched[system_id] = Watch(*watch[:3], None, None, *again, late_told=told)
        return self._rows.watched[system_id]

    async def tell_late(self, tenant_id: int, happened: Happened) -> None:
        watch = self._rows.watched[happened.system_id]
        if not watch.late_told:
            self._rows.watched[happened.system_id] = watch._replace(late_told=True)
            self._rows.tell(tenant_id, [happened])

    async def judged_again(self, tenant_id: int, system_id: int, until: datetime | None) -> None:
        watch = self._rows.watched[system_id]
        rest = (until, watch.again_to) if until else (None, None)
        self._rows.watched[system_id] = watch._replace(again_from=rest[0], again_to=rest[1])

    async def again(self, tenant_id: int, system_id: int) -> None:
        return


class MemoryEvents:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def page(self, tenant_id: int, system_id: int, after: int = 0, limit: int = 100) -> Sequence[Event]:
        own = [each for owner, each in self._rows.happened if (owner, each.system_id) == (tenant_id, system_id)]
        return [each for each in own if each.event_id > after][:limit]

    async def newest(self, tenant_id: int, system_id: int, limit: int) -> Sequence[Event]:
        return list(await self.page(tenant_id, system_id, 0, len(self._rows.happened)))[-limit:]

    async def add(self, tenant_id: int, happened: Iterable[Happened]) -> None:
        self._rows.tell(tenant_id, happened)


class MemoryFeedback:
    def __init__(self, store: "MemoryStore") -> None:
        self._store = store

    async def give(
        self, tenant_id: int, trace_id: UUID, verdict: Verdict, component: str | None, note: str, actor: str
    ) -> StoredFeedback:
        await self._store.diagnoses.get(tenant_id, trace_id)
        self._store.said[tenant_id, trace_id] = StoredFeedback(trace_id, verdict, component, note, actor, BEGAN)
        detail = f"{verdict} {component or ''}".strip()
        await self._store.audit.note(tenant_id, actor, "feedback", f"diagnosis {trace_id}", detail)
        return self._store.said[tenant_id, trace_id]


class MemoryAnswers:
    def __init__(self, store: "MemoryStore") -> None:
        self._store = store

    async def add(self, tenant_id: int, trace_id: UUID, question: str, cited: Sequence[Cited], abstained: bool) -> None:
        self._store.idempotency.mark()
        self._store.answered[tenant_id, trace_id] = (question, cited, abstained)

    async def give(
        self, tenant_id: int, trace_id: UUID, account: str, verdict: Helpfulness, comment: str, actor: str
    ) -> AnswerFeedback:
        if (tenant_id, trace_id) not in self._store.answered:
            raise NotFound("answer", trace_id)
        said = AnswerFeedback(trace_id, verdict, comment, actor, datetime.now(UTC))
        self._store.rated[tenant_id, trace_id, account] = said
        await self._store.audit.note(tenant_id, actor, "answer.feedback", f"answer {trace_id}", verdict)
        return said

    async def spoken_of(self, tenant_id: int, since: datetime, limit: int) -> Sequence[SpokenOf]:
        own = [said for (owner, *_), said in self._store.rated.items() if owner == tenant_id]
        newest = sorted((said for said in own if said.created_at >= since), key=lambda said: said.created_at)[::-1]
        return [SpokenOf(*self._store.answered[tenant_id, said.trace_id], said) for said in newest[:limit]]


class MemoryDocuments:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = self._store = store

    async def add(
        self, tenant_id: int, document_id: str, name: str, sha256: str, content: bytes, actor: str = COMMAND_LINE
    ) -> StoredDocument:
        await self._store.audit.note(tenant_id, actor, "document.added", document_id, name)
        fresh = StoredDocument(document_id, name, sha256, len(content), "queued", "", "", None, 0, 0, 0, BEGAN)
        return self._rows.kept_documents.setdefault((tenant_id, document_id), fresh)

    async def get(self, tenant_id: int, document_id: str) -> StoredDocument:
        if (tenant_id, document_id) not in self._rows.kept_documents:
            raise NotFound("document", document_id)
        return self._rows.kept_documents[tenant_id, document_id]

    async def pages(self, tenant_id: int, document_id: str) -> Sequence[str]:
        return [f"Pages of {(await self.get(tenant_id, document_id)).name}."]

    async def page(self, tenant_id: int, after: str, limit: int) -> Sequence[StoredDocument]:
        own = sorted(key for owner, key in self._rows.kept_documents if owner == tenant_id and key > after)
        return [self._rows.kept_documents[tenant_id, key] for key in own[:limit]]

    async def change(
        self, tenant_id: int, document_id: str, actor: str = COMMAND_LINE, **changes: Any
    ) -> StoredDocument:
        changed = await self._change(tenant_id, document_id, **changes)
        await self._store.audit.note(tenant_id, actor, "document.changed", document_id, changed.state)
        return changed

    async def _change(self, tenant_id: int, document_id: str, **changes: Any) -> StoredDocument:
        known = await self.get(tenant_id, document_id)
        if known.state == "removing" and changes.get("state") != "removing":
            raise NotFound("document", document_id)
        changed = replace(known, **changes)
        self._rows.kept_documents[tenant_id, document_id] = changed
        return changed

    async def remove(self, tenant_id: int, document_id: str, actor: str = COMMAND_LINE) -> None:
        await self._change(tenant_id, document_id, state="removing")
        await self._store.audit.note(tenant_id, actor, "document.removed", document_id, "")


class MemoryAudit:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = store

    async def note(self, tenant_id: int | None, actor: str, action: str, subject: str, detail: str) -> None:
        self._rows.idempotency.mark()
        self._rows.audited.append((tenant_id, actor, action, subject))
        self._rows.notes.append((tenant_id, Note(len(self._rows.notes) + 1, actor, action, subject, detail, BEGAN)))

    async def newest(self, tenant_id: int | None, limit: int = 100) -> Sequence[Note]:
        return await self.page(tenant_id, limit=limit)

    async def page(
        self, tenant_id: int | None, wanted: Wanted = ALL, before: int | None = None, limit: int = 100
    ) -> Sequence[Note]:
        found = [note for owner, note in reversed(self._rows.notes) if owner == tenant_id]
        asked = {name: getattr(wanted, name) for name in ("actor", "action", "subject")}
        return [
            note
            for note in found
            if all(value in (None, getattr(note, name)) for name, value in asked.items())
            and (wanted.begin is None or note.created_at >= wanted.begin)
            and (wanted.end is None or note.created_at < wanted.end)
            and (before is None or note.audit_id < before)
        ][:limit]


class MemorySeals:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def newest(self, tenant_id: int | None) -> KeptCheckpoint | None:
        return self._rows.checkpoints.get(tenant_id)


class MemoryStore(Rows):
    """The parts over rows of their own.

    Attributes:
        up: Whether it answers a ping.
    """

    def __init__(self) -> None:
        super().__init__()
        self.up = True
        self.tenants = MemoryTenants(self)
        self.accounts = MemoryAccounts(self)
        self.identities = MemoryIdentities(self)
        self.invitations = MemoryInvitations(self)
        self.sessions = MemorySessions(self)
        self.idempotency = MemoryKeyring(self)
        self.keys = MemoryKeys(self)
        self.token_keys = MemoryTokenKeys(self)
        self.families = MemoryFamilies(self)
        self.systems = MemorySystems(self)
        self.diagnoses = MemoryDiagnoses(self)
        self.readings = MemoryReadings(self)
        self.watches = MemoryWatches(self)
        self.events = MemoryEvents(self)
        self.feedback = MemoryFeedback(self)
        self.answers = MemoryAnswers(self)
        self.documents = MemoryDocuments(self)
        self.jobs = MemoryJobs(self)
        self.audit = MemoryAudit(self)
        self.seals = MemorySeals(self)
        self.rates = MemoryRates()

    async def ping(self) -> None:
        if not self.up:
            raise ConnectionError("host=10.0.0.7 password=hunter2")
