"""What every store promises to the routes, held by PostgreSQL and by the memory that contract tests stand on."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from pipelines.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from pipelines.machines.alarm import LIMIT
from pipelines.machines.family import digest_of
from serve_app.store import families
from serve_app.store.families import FAMILIES_MAX
from serve_app.store.life import evidence_of
from serve_app.store.protocols import StoreParts
from serve_app.store.records import Account, Principal, Reading, Role, System, written
from tests.contract import memory_store
from tests.service.houses import diagnosis_of, learned, normal_of, soon

A, B = (f'{{"title":"{title}","channels":{{"pressure":{{"unit":"psi"}}}}}}' for title in ("Press", "New press"))


@dataclass(frozen=True)
class Plant:
    """A tenant with a system."""

    tenant_id: int
    system: System


async def make_plant(parts: StoreParts) -> Plant:
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    return Plant(tenant_id, await parts.systems.add(tenant_id, "Press", "generic", ""))


async def test_a_tenant_is_made_once(parts: StoreParts) -> None:
    """The same name is the same tenant; another is another."""
    name = uuid4().hex
    assert await parts.tenants.ensure(name) == await parts.tenants.ensure(name)
    assert await parts.tenants.ensure(uuid4().hex) != await parts.tenants.ensure(name)


async def test_an_account_is_found_in_any_case(parts: StoreParts) -> None:
    """User name and e-mail find one account whatever their case; a taken one is refused."""
    tenant_id, name = await parts.tenants.ensure(uuid4().hex), f"Ann{uuid4().hex}"
    account = await parts.accounts.add(tenant_id, name, f"{name}@example.com", "hash", "viewer")
    for login in (name.upper(), f" {name.lower()}@Example.com "):
        assert await parts.accounts.by_login(login) == account
    assert await parts.accounts.get(account.user_id) == account
    assert await parts.accounts.by_login(uuid4().hex) is None
    assert await parts.accounts.folded(f" {name.upper()}") == await parts.accounts.folded(f"{name.lower()} ")
    with pytest.raises(Conflict, match="username"):
        await parts.accounts.add(tenant_id, name.lower(), "other@example.com", "hash", "viewer")


async def test_a_refresh_token_is_good_for_one_exchange(parts: StoreParts) -> None:
    """A second use, an expired token and an ended session are refused; a second use ends the whole family."""
    tenant_id, name = await parts.tenants.ensure(uuid4().hex), uuid4().hex
    user_id = (await parts.accounts.add(tenant_id, name, f"{name}@example.com", "hash", "viewer")).user_id
    first, second, ended, expired, family = (uuid4() for _ in range(5))
    await parts.sessions.start(user_id, family, first, soon())
    assert await parts.sessions.rotate(first, second, soon()) == (user_id, family)
    await parts.sessions.start(user_id, uuid4(), ended, soon())
    await parts.sessions.end(ended)
    await parts.sessions.start(user_id, uuid4(), expired, datetime.now(UTC) - timedelta(days=1))
    for token in (first, second, ended, expired):
        with pytest.raises(Unauthenticated):
            await parts.sessions.rotate(token, uuid4(), soon())


async def test_a_key_stands_for_its_tenant(parts: StoreParts) -> None:
    """A digest names tenant and role, is taken once, and an unknown one names nobody."""
    tenant_id, sha256 = await parts.tenants.ensure(uuid4().hex), uuid4().bytes
    await parts.keys.add(tenant_id, "line 4", "operator", sha256)
    assert await parts.keys.principal(sha256) == Principal(tenant_id, None, "line 4", "operator")
    assert await parts.keys.principal(uuid4().bytes) is None
    with pytest.raises(Conflict, match="api_key"):
        await parts.keys.add(tenant_id, "again", "admin", sha256)


async def test_withdrawn_credentials_end(parts: StoreParts) -> None:
    """A disabled account and a changed password end every session of the account alone, and count as withdrawn."""
    tenant_id, names = await parts.tenants.ensure(uuid4().hex), [uuid4().hex for _ in range(3)]
    one, two, other = [
        await parts.accounts.add(tenant_id, name, f"{name}@example.com", "hash", "viewer") for name in names
    ]
    tokens = {account.user_id: uuid4() for account in (one, two, other)}
    for user_id, token in tokens.items():
        await parts.sessions.start(user_id, uuid4(), token, soon())
    await parts.accounts.set_active(one, False, "ann")
    await parts.accounts.set_password(two, "another hash", "ann")
    for account in (one, two):
        with pytest.raises(Unauthenticated):
            await parts.sessions.rotate(tokens[account.user_id], uuid4(), soon())
    await parts.sessions.rotate(tokens[other.user_id], uuid4(), soon())
    withdrawn = await parts.accounts.withdrawn(60)
    assert [withdrawn.get(account.user_id) for account in (one, two, other)] == [1, 1, None]
    await parts.accounts.set_active(one, True, "ann")
    assert await parts.accounts.get(one.user_id) == replace(one, generation=1)
    assert await parts.accounts.by_login(two.username) == replace(two, generation=1, password_hash="another hash")
    notes = [(note.actor, note.action, note.subject) for note in await parts.audit.newest(tenant_id, 3)]
    deeds = [("user.enabled", one), ("user.password", two), ("user.disabled", one)]
    assert notes == [("ann", action, f"user {account.user_id}") for action, account in deeds]


async def test_a_revoked_key_stands_for_nobody(parts: StoreParts) -> None:
    """Making and revoking are audited; the list shows both; a key is revoked once, and by its own tenant."""
    mine, theirs = await parts.tenants.ensure(uuid4().hex), await parts.tenants.ensure(uuid4().hex)
    sha256 = uuid4().bytes
    await parts.keys.add(mine, "line 4", "operator", sha256, "ann")
    (key,) = await parts.keys.page(mine)
    assert (key.name, key.role, key.revoked_at) == ("line 4", "operator", None)
    with pytest.raises(NotFound, match="key"):
        await parts.keys.revoke(theirs, key.key_id, "bob")
    assert await parts.keys.principal(sha256) is not None
    await parts.keys.revoke(mine, key.key_id, "ann")
    assert await parts.keys.principal(sha256) is None
    with pytest.raises(NotFound, match="key"):
        await parts.keys.revoke(mine, key.key_id, "ann")
    assert [each.revoked_at is None for each in await parts.keys.page(mine)] == [False]
    assert list(await parts.keys.page(mine, after=key.key_id)) == []
    assert list(await parts.keys.page(theirs)) == []
    assert [note.action for note in await parts.audit.newest(mine)] == ["key.revoked", "key.added"]


async def make_people(parts: StoreParts, *roles: Role) -> tuple[int, list[Account]]:
    tenant_id, names = await parts.tenants.ensure(uuid4().hex), [uuid4().hex for _ in roles]
    added = [
        await parts.accounts.add(tenant_id, name, f"{name}@example.com", "hash", role)
        for name, role in zip(names, roles, strict=True)
    ]
    return tenant_id, added


async def test_a_tenant_lists_its_people(parts: StoreParts) -> None:
    """By pages in the order of their ids, its own alone; another's is not found."""
    tenant_id, people = await make_people(parts, "admin", "viewer", "operator")
    other, (stranger,) = await make_people(parts, "admin")
    assert await parts.accounts.page(tenant_id, limit=2) == people[:2]
    assert await parts.accounts.page(tenant_id, after=people[1].user_id) == people[2:]
    assert await parts.accounts.page(other) == [stranger]
    assert await parts.accounts.own(tenant_id, people[0].user_id) == people[0]
    for number in (stranger.user_id, 2**31 - 1):
        with pytest.raises(NotFound, match="user"):
            await parts.accounts.own(tenant_id, number)


async def test_a_role_changes_with_what_it_opened(parts: StoreParts) -> None:
    """Another role withdraws, both changes at once are one withdrawal and two notes, and the same again is nothing."""
    tenant_id, (admin, person) = await make_people(parts, "admin", "viewer")
    token = uuid4()
    await parts.sessions.start(person.user_id, uuid4(), token, soon())
    changed = await parts.accounts.change(tenant_id, person.user_id, "ann", role="engineer")
    assert changed == replace(person, role="engineer", generation=1)
    with pytest.raises(Unauthenticated):
        await parts.sessions.rotate(token, uuid4(), soon())
    assert await parts.accounts.change(tenant_id, person.user_id, "ann", role="engineer", active=True) == changed
    ended = await parts.accounts.change(tenant_id, person.user_id, "ann", role="operator", active=False)
    assert ended == replace(person, role="operator", active=False, generation=2)
    assert (await parts.accounts.change(tenant_id, person.user_id, active=True)).generation == 2
    assert (await parts.accounts.withdrawn(60)).get(person.user_id) == 2
    assert admin.user_id not in await parts.accounts.withdrawn(60)
    told = [(note.action, note.detail) for note in await parts.audit.newest(tenant_id, 4)]
    assert told[:3] == [
        ("user.enabled", person.username),
        ("user.disabled", person.username),
        ("user.role", f"{person.username}, engineer to operator"),
    ]


@pytest.mark.parametrize("change", [{"role": "engineer"}, {"active": False}])
async def test_a_tenant_keeps_an_administrator(parts: StoreParts, change: dict[str, Any]) -> None:
    """The last active one stays, whoever else was one; of two, one may go."""
    tenant_id, (one, two, gone) = await make_people(parts, "admin", "engineer", "admin")
    await make_people(parts, "admin")
    await parts.accounts.change(tenant_id, gone.user_id, active=False)
    with pytest.raises(Conflict, match="administrator"):
        await parts.accounts.change(tenant_id, one.user_id, **change)
    assert await parts.accounts.own(tenant_id, one.user_id) == one
    await parts.accounts.change(tenant_id, two.user_id, role="admin")
    await parts.accounts.change(tenant_id, one.user_id, **change)
    with pytest.raises(Conflict, match="administrator"):
        await parts.accounts.change(tenant_id, two.user_id, **change)


async def test_a_checked_password_is_of_what_was_checked(parts: StoreParts) -> None:
    """A change that the old password allowed fails once the account was withdrawn; an administrator's does not."""
    tenant_id, (person,) = await make_people(parts, "viewer")
    changed = await parts.accounts.set_password(person, "second", "ann", checked=True)
    assert (changed.password_hash, changed.generation) == ("second", 1)
    with pytest.raises(Conflict, match="meanwhile"):
        await parts.accounts.set_password(person, "third", person.username, checked=True)
    assert (await parts.accounts.set_password(person, "fourth", "ann")).password_hash == "fourth"
    assert (await parts.accounts.own(tenant_id, person.user_id)).generation == 2


async def test_open_sessions_are_listed_and_ended(parts: StoreParts) -> None:
    """A session is what grew from one log-in; one is ended by its id, all by the account, each once, with a note."""
    tenant_id, (person, other) = await make_people(parts, "viewer", "viewer")
    first, second, third, token = (uuid4() for _ in range(4))
    for family, begun in ((first, token), (second, uuid4()), (third, uuid4())):
        await parts.sessions.start(person.user_id, family, begun, soon())
    await parts.sessions.start(person.user_id, uuid4(), uuid4(), datetime.now(UTC) - timedelta(days=1))
    await parts.sessions.start(other.user_id, uuid4(), uuid4(), soon())
    before = {each.session_id: each for each in await parts.sessions.page(tenant_id, person.user_id)}
    ends = soon()
    await parts.sessions.rotate(token, uuid4(), ends)
    listed = await parts.sessions.page(tenant_id, person.user_id)
    assert [each.session_id for each in listed] == [third, second, first]
    assert [each.used_at is None for each in listed] == [True, True, False]
    assert (listed[2].begun_at, listed[2].expires_at) == (before[first].begun_at, ends)
    await parts.sessions.end_one(tenant_id, person.user_id, second, "ann")
    for user, family in ((person, second), (other, first), (person, uuid4())):
        with pytest.raises(NotFound, match="session"):
            await parts.sessions.end_one(tenant_id, user.user_id, family, "ann")
    assert [each.session_id for each in await parts.sessions.page(tenant_id, person.user_id)] == [third, first]
    await parts.accounts.end_sessions(tenant_id, person.user_id, "ann")
    assert list(await parts.sessions.page(tenant_id, person.user_id)) == []
    assert len(await parts.sessions.page(tenant_id, other.user_id)) == 1
    assert (await parts.accounts.own(tenant_id, person.user_id)).generation == 1
    told = [(note.actor, note.action) for note in await parts.audit.newest(tenant_id, 2)]
    assert told == [("ann", "user.sessions.ended"), ("ann", "user.session.ended")]


async def test_a_key_has_scopes_and_an_end(parts: StoreParts) -> None:
    """Both are listed and told in the audit; past its end it stands for nobody."""
    tenant_id, (sha256, ended) = await parts.tenants.ensure(uuid4().hex), (uuid4().bytes, uuid4().bytes)
    until = soon()
    made = await parts.keys.add(tenant_id, "line 4", "operator", sha256, "ann", "hdx_abcd", ("detect", "read"), until)
    assert (made.prefix, made.scopes, made.expires_at, made.last_used_at) == (
        "hdx_abcd",
        ("detect", "read"),
        until,
        None,
    )
    assert await parts.keys.page(tenant_id) == [made]
    assert await parts.keys.principal(sha256) == Principal(
        tenant_id, None, "line 4", "operator", scopes=("detect", "read")
    )
    await parts.keys.add(tenant_id, "old", "operator", ended, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert await parts.keys.principal(ended) is None
    (_, note) = await parts.audit.newest(tenant_id)
    assert note.detail == f"line 4, operator, only detect read, until {written(until)}"


async def test_the_last_use_of_a_key_is_kept_by_the_minute(parts: StoreParts) -> None:
    """It moves on by more than a minute at a time, never back, and for the tenant's own keys alone."""
    mine, theirs = await parts.tenants.ensure(uuid4().hex), await parts.tenants.ensure(uuid4().hex)
    one, two = uuid4().bytes, uuid4().bytes
    for key in (one, two):
        await parts.keys.add(mine, "line 4", "operator", key)
    begun = datetime(2026, 11, 30, 12, tzinfo=UTC)
    for seconds, kept in ((0, 0), (59, 0), (60, 0), (61, 61), (30, 61), (200, 200)):
        await parts.keys.used(mine, {one: begun + timedelta(seconds=seconds)})
        used = [key.last_used_at for key in await parts.keys.page(mine)]
        assert used == [begun + timedelta(seconds=kept), None]
    await parts.keys.used(theirs, {one: begun + timedelta(days=1), two: begun})
    assert [key.last_used_at for key in await parts.keys.page(mine)] == [begun + timedelta(seconds=200), None]
    await parts.keys.used(mine, {one: begun + timedelta(days=1), two: begun})
    assert [key.last_used_at for key in await parts.keys.page(mine)] == [begun + timedelta(days=1), begun]


async def test_families_have_versions(parts: StoreParts) -> None:
    """A change adds one, the same again none; what is removed is not found but by the answers that it gave."""
    tenant_id, other = await parts.tenants.ensure(uuid4().hex), await parts.tenants.ensure(uuid4().hex)
    first = await parts.families.add(tenant_id, "press", A, "ann")
    assert (first.name, first.version, first.definition, first.actor) == ("press", 1, A, "ann")
    with pytest.raises(Conflict, match="press"):
        await parts.families.add(tenant_id, "press", B)
    second = await parts.families.change(tenant_id, "press", B)
    assert (second.version, await parts.families.change(tenant_id, "press", B)) == (2, second)
    lift = await parts.families.add(tenant_id, "lift", A)
    assert await parts.families.page(tenant_id) == [lift, second]
    assert await parts.families.page(tenant_id, "lift", 1) == [second]
    assert await parts.families.get(tenant_id, "press") == second
    assert await parts.families.get(tenant_id, "press", 1) == first
    with pytest.raises(NotFound, match="no family press in version 3"):
        await parts.families.get(tenant_id, "press", 3)
    key = f"press@{digest_of(A)}"
    assert await parts.families.of_key(tenant_id, key) == first
    system = await parts.systems.add(tenant_id, "Press", "press", "")
    with pytest.raises(Conflict, match=f"system {system.system_id} is of it"):
        await parts.families.remove(tenant_id, "press")
    await parts.systems.delete(tenant_id, system.system_id)
    await parts.families.remove(tenant_id, "press", "bob")
    for tenant, name, version in ((tenant_id, "press", None), (tenant_id, "press", 1), (other, "lift", None)):
        with pytest.raises(NotFound):
            await parts.families.get(tenant, name, version)
    with pytest.raises(NotFound):
        await parts.families.change(tenant_id, "press", A)
    with pytest.raises(NotFound):
        await parts.families.remove(other, "lift")
    with pytest.raises(NotFound):
        await parts.families.of_key(other, key)
    assert await parts.families.of_key(tenant_id, key) == first
    assert (await parts.families.add(tenant_id, "press", A)).version == 3
    deeds = [(note.actor, note.action, note.detail) for note in await parts.audit.newest(tenant_id)]
    assert ("bob", "family.removed", "") in deeds
    assert ("command line", "family.changed", "version 2") in deeds


async def test_families_are_bounded(parts: StoreParts) -> None:
    """As many as a tenant may have, and no more; a page holds a hundred of them."""
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    names = [f"press-{number:03}" for number in range(FAMILIES_MAX)]
    for name in names:
        await parts.families.add(tenant_id, name, A)
    with pytest.raises(InvalidInput, match=f"more than {FAMILIES_MAX}, there are {FAMILIES_MAX}"):
        await parts.families.add(tenant_id, "lift", A)
    assert [each.name for each in await parts.families.page(tenant_id)] == names[:100]
    assert (await parts.families.change(tenant_id, names[0], B)).version == 2
    await parts.families.remove(tenant_id, names[1])
    assert (await parts.families.add(tenant_id, "lift", A)).version == 1


async def test_versions_of_a_family_are_bounded(parts: StoreParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one that may be is, the next is refused by name."""
    for module in (families, memory_store):
        monkeypatch.setattr(module, "VERSIONS_MAX", 3)
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    await parts.families.add(tenant_id, "press", A)
    assert [(await parts.families.change(tenant_id, "press", text)).version for text in (B, A)] == [2, 3]
    with pytest.raises(InvalidInput, match="at most 3"):
        await parts.families.change(tenant_id, "press", B)
    assert (await parts.families.get(tenant_id, "press")).definition == A


async def test_other_channels_begin_anew(parts: StoreParts) -> None:
    """What was learned in psi says nothing of bar: systems of the family learn again; a title changes nothing."""
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    await parts.families.add(tenant_id, "press", A)
    system, other = [await parts.systems.add(tenant_id, "Press", kind, "") for kind in ("press", "generic")]
    for each in (system, other):
        await parts.systems.commission(tenant_id, each.system_id, normal_of(0), 20)
        await parts.systems.change(tenant_id, each.system_id, limits={"pressure": {"high": 200.0}})
    await parts.families.change(tenant_id, "press", B)
    known, normal = await parts.systems.machine(tenant_id, system.system_id)
    assert (known.state, normal is None, known.limits) == ("monitoring", False, {"pressure": {"high": 200.0}})
    await parts.families.change(tenant_id, "press", B.replace("psi", "bar"))
    known, normal = await parts.systems.machine(tenant_id, system.system_id)
    assert (known.state, known.learned, normal, known.limits) == ("commissioning", 0, None, {})
    assert known.commissioned_since > system.commissioned_since
    untouched, normal = await parts.systems.machine(tenant_id, other.system_id)
    assert (untouched.state, normal is None) == ("monitoring", False)


async def test_what_is_kept_keeps_its_unit(parts: StoreParts) -> None:
    """Readings say no unit: of another one they would be other readings, though the channel was away meanwhile."""
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    await parts.families.add(tenant_id, "press", A)
    system = await parts.systems.add(tenant_id, "Press", "press", "")
    in_bar, other = A.replace("psi", "bar"), A.replace("pressure", "flow").replace("psi", "l/min")
    await parts.families.change(tenant_id, "press", in_bar)  # none is kept yet
    await parts.readings.add(
        tenant_id, system.system_id, [Reading("pressure", datetime(2026, 3, 1, tzinfo=UTC), 100.0)]
    )
    for before in (in_bar, other):
        await parts.families.change(tenant_id, "press", before)
        with pytest.raises(Conflict, match=rf"pressure.unit: must stay 'bar': system {system.system_id} has readings"):
            await parts.families.change(tenant_id, "press", A)
    assert (await parts.families.get(tenant_id, "press")).definition == other
    elsewhere = await parts.tenants.ensure(uuid4().hex)
    await parts.families.add(elsewhere, "press", A)
    await parts.families.change(elsewhere, "press", in_bar)


async def test_systems_are_paged_changed_and_deleted(parts: StoreParts) -> None:
    """Pages hold own rows in the order of ids, a change keeps what is not given, a deleted system is gone."""
    mine, theirs = await make_plant(parts), await make_plant(parts)
    second = await parts.systems.add(mine.tenant_id, "Lift", "generic", "second")
    assert list(await parts.systems.page(mine.tenant_id)) == [mine.system, second]
    assert list(await parts.systems.page(mine.tenant_id, after=mine.system.system_id)) == [second]
    assert list(await parts.systems.page(mine.tenant_id, limit=1)) == [mine.system]
    changed = await parts.systems.change(mine.tenant_id, second.system_id, name="Hoist")
    assert (changed.name, changed.description) == ("Hoist", "second")
    await parts.systems.delete(mine.tenant_id, second.system_id)
    with pytest.raises(NotFound, match="system"):
        await parts.systems.get(mine.tenant_id, second.system_id)
    assert list(await parts.systems.page(theirs.tenant_id)) == [theirs.system]


async def test_an_answer_is_kept_with_what_it_taught(parts: StoreParts) -> None:
    """A recorded answer reads back, is the newest of its system, teaches what is normal and sets the state."""
    plant = await make_plant(parts)
    await parts.systems.commission(plant.tenant_id, plant.system.system_id, normal_of(0), 20)
    answer = diagnosis_of(plant.system.system_id)
    assert await parts.diagnoses.last(plant.tenant_id, plant.system.system_id) is None
    await parts.diagnoses.record(plant.tenant_id, answer, learned(1), alarm=True)
    assert await parts.diagnoses.get(plant.tenant_id, answer.trace_id) == answer
    assert await parts.diagnoses.last(plant.tenant_id, plant.system.system_id) == answer
    system, normal = await parts.systems.machine(plant.tenant_id, plant.system.system_id)
    assert system.alarm
    assert normal is not None
    assert normal.to_bytes() == normal_of(0).learning(learned(1)).to_bytes()
    with pytest.raises(Conflict, match="trace_id"):
        await parts.diagnoses.record(plant.tenant_id, answer, None)
    assert list(await parts.diagnoses.passages(plant.tenant_id, answer.trace_id)) == []
    await parts.diagnoses.consult(plant.tenant_id, answer.trace_id, [{"document_id": "press"}])
    assert list(await parts.diagnoses.passages(plant.tenant_id, answer.trace_id)) == [{"document_id": "press"}]


async def test_what_another_tenant_has_is_not_found(parts: StoreParts) -> None:
    """Another tenant's system, answer and document read as absent to every method that names one."""
    mine, theirs = await make_plant(parts), await make_plant(parts)
    answer, number = diagnosis_of(theirs.system.system_id), theirs.system.system_id
    await parts.diagnoses.record(theirs.tenant_id, answer, None)
    await parts.documents.add(theirs.tenant_id, "press", "press.md", "0", b"# Press")
    for attempt in (
        parts.systems.get(mine.tenant_id, number),
        parts.systems.machine(mine.tenant_id, number),
        parts.systems.change(mine.tenant_id, number, name="x"),
        parts.systems.delete(mine.tenant_id, number),
        parts.systems.commission(mine.tenant_id, number, normal_of(9), 20),
        parts.systems.amend(mine.tenant_id, number, lambda _: normal_of(9), ""),
        parts.systems.forget(mine.tenant_id, number),
        parts.diagnoses.windows(mine.tenant_id, number, [answer.trace_id]),
        parts.diagnoses.record(mine.tenant_id, diagnosis_of(number), learned(9)),
        parts.diagnoses.get(mine.tenant_id, answer.trace_id),
        parts.feedback.give(mine.tenant_id, answer.trace_id, "confirmed", None, "", "x"),
        parts.documents.get(mine.tenant_id, "press"),
        parts.documents.pages(mine.tenant_id, "press"),
        parts.documents.remove(mine.tenant_id, "press"),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert list(await parts.diagnoses.passages(mine.tenant_id, answer.trace_id)) == []
    assert await parts.diagnoses.last(mine.tenant_id, number) is None
    assert list(await parts.diagnoses.newest(mine.tenant_id, number, 10)) == []
    assert await parts.systems.get(theirs.tenant_id, number) == replace(theirs.system, learned=1)


async def test_a_system_has_a_life(parts: StoreParts) -> None:
    """Windows count while it is commissioned, teach and are evidence while monitored, and neither in maintenance."""
    plant = await make_plant(parts)
    tenant_id, number = plant.tenant_id, plant.system.system_id
    assert (plant.system.state, plant.system.learned) == ("commissioning", 0)

    async def send(level: int = 3) -> System:
        written: list[System] = []

        def answer(system: System) -> bytes:
            written.append(system)
            return b'{"score": 0.5}'

        kept = await parts.diagnoses.record(tenant_id, diagnosis_of(number), learned(1), level=level, answer=answer)
        assert (kept.answer, written[-1]) == (b'{"score": 0.5}', kept.system)
        return kept.system

    with pytest.raises(InvalidInput, match="commissioning"):
        await parts.systems.change(tenant_id, number, state="monitoring")
    assert [(await send()).learned for _ in range(2)] == [1, 2]
    assert not (await parts.systems.get(tenant_id, number)).evidence
    begun = plant.system.commissioned_since
    assert not await parts.systems.commission(tenant_id, number, normal_of(0), 2, since=begun - timedelta(days=1))
    assert await parts.systems.commission(tenant_id, number, normal_of(0), 2, "2 windows", "ann", since=begun)
    assert not await parts.systems.commission(tenant_id, number, normal_of(5), 2, since=begun)
    for _ in range(3):
        raised = await send()
    assert evidence_of(raised).raised
    assert raised.learned == 2
    await parts.systems.change(tenant_id, number, state="maintenance")
    resting = await send()
    assert (resting.state, resting.evidence) == ("maintenance", raised.evidence)
    _, normal = await parts.systems.machine(tenant_id, number)
    assert normal is not None
    assert normal.points[0].baseline.count.tolist() == [4.0] * len(normal.points[0].baseline.count)
    repaired = await parts.systems.change(tenant_id, number, actor="bob", state="monitoring")
    assert (evidence_of(repaired).raised, repaired.alarm) == (False, False)
    renamed = await parts.systems.change(tenant_id, number, name="Press 5", state="maintenance")
    assert (renamed.name, renamed.state) == ("Press 5", "maintenance")
    anew = await parts.systems.change(tenant_id, number, state="commissioning")
    assert (anew.state, anew.learned, anew.evidence, anew.commissioned_since > begun) == ("commissioning", 0, (), True)
    assert await parts.systems.machine(tenant_id, number) == (anew, None)
    assert evidence_of(await send(LIMIT)).height > 0
    deeds = [(note.actor, note.action, note.detail) for note in await parts.audit.newest(tenant_id)]
    assert deeds[:4] == [
        ("command line", "system.changed", "state commissioning"),
        ("command line", "system.changed", "name, state maintenance"),
        ("bob", "system.changed", "state monitoring"),
        ("command line", "system.changed", "state maintenance"),
    ]
    assert ("ann", "system.commissioned", "2 windows") in deeds


async def test_what_is_normal_is_widened_and_forgotten(parts: StoreParts) -> None:
    """A change of a normal is made on the present one; forgotten, there is none, and limits stay."""
    plant = await make_plant(parts)
    tenant_id, number = plant.tenant_id, plant.system.system_id
    with pytest.raises(InvalidInput, match="accept"):
        await parts.systems.amend(tenant_id, number, lambda normal: normal, "")
    await parts.systems.commission(tenant_id, number, normal_of(0), 20)
    await parts.systems.change(tenant_id, number, limits={"pressure": {"high": 250.0}})
    amended = await parts.systems.amend(tenant_id, number, lambda normal: normal.learning(learned(1)), "1 window")
    _, normal = await parts.systems.machine(tenant_id, number)
    assert normal is not None
    assert normal.to_bytes() == amended.to_bytes() == normal_of(0).learning(learned(1)).to_bytes()
    await parts.systems.forget(tenant_id, number, "ann")
    system, gone = await parts.systems.machine(tenant_id, number)
    assert (system.state, system.limits, gone) == ("commissioning", {"pressure": {"high": 250.0}}, None)
    assert [note.action for note in await parts.audit.newest(tenant_id, 2)] == ["system.forgotten", "system.accepted"]


async def test_stored_windows_are_read_again(parts: StoreParts) -> None:
    """The newest of a system, in the order of time and between two moments, or those that are named."""
    plant = await make_plant(parts)
    began = datetime.now(UTC)
    answers = [
        replace(
            diagnosis_of(plant.system.system_id),
            created_at=began + timedelta(minutes=minute),
            window={"values": {"pressure": [float(minute)]}, "rate_hz": 1.0},
        )
        for minute in range(4)
    ]
    for answer in answers:
        await parts.diagnoses.record(plant.tenant_id, answer, None)

    async def newest(limit: int, begin: int | None = None, end: int | None = None) -> list[float]:
        moments = [None if minute is None else began + timedelta(minutes=minute) for minute in (begin, end)]
        found = await parts.diagnoses.newest(plant.tenant_id, plant.system.system_id, limit, *moments)
        return [window["values"]["pressure"][0] for window in found]

    assert await newest(2) == [2.0, 3.0]
    assert await newest(9, 1, 2) == [1.0, 2.0]
    chosen = [answers[3].trace_id, answers[0].trace_id]
    named = await parts.diagnoses.windows(plant.tenant_id, plant.system.system_id, chosen)
    assert [window["values"]["pressure"] for window in named] == [[3.0], [0.0]]
    other = await parts.systems.add(plant.tenant_id, "Lift", "generic", "")
    with pytest.raises(NotFound, match="diagnosis"):
        await parts.diagnoses.windows(plant.tenant_id, other.system_id, chosen)


async def test_documents_are_taken_in_once(parts: StoreParts) -> None:
    """The same document stays as it is; a change is kept; pages are in the order of ids."""
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    added = await parts.documents.add(tenant_id, "b", "b.md", "0", b"# B")
    assert (added.state, added.bytes) == ("queued", 3)
    await parts.documents.change(tenant_id, "b", state="ready")
    assert (await parts.documents.add(tenant_id, "b", "b.md", "0", b"# B")).state == "ready"
    await parts.documents.add(tenant_id, "a", "a.md", "1", b"# A")
    assert [each.document_id for each in await parts.documents.page(tenant_id, "", 10)] == ["a", "b"]
    assert [each.document_id for each in await parts.documents.page(tenant_id, "a", 10)] == ["b"]


async def test_a_document_that_is_going_goes(parts: StoreParts) -> None:
    """Whoever asks for anything else of it finds none; asked again to go, it goes still."""
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    await parts.documents.add(tenant_id, "a", "a.md", "0", b"# A")
    await parts.documents.remove(tenant_id, "a")
    for state in ("ready", "queued", "failed"):
        with pytest.raises(NotFound):
            await parts.documents.change(tenant_id, "a", state=state)
    await parts.documents.remove(tenant_id, "a")
    assert (await parts.documents.get(tenant_id, "a")).state == "removing"


async def test_deeds_are_noted_newest_first(parts: StoreParts) -> None:
    """A word on an answer and a deed stand in the tenant's audit alone; the platform's notes are no tenant's."""
    mine, theirs = await make_plant(parts), await make_plant(parts)
    answer = diagnosis_of(mine.system.system_id)
    await parts.diagnoses.record(mine.tenant_id, answer, None)
    said = await parts.feedback.give(mine.tenant_id, answer.trace_id, "missed", "pump", "leak", "ann")
    assert (said.verdict, said.component, said.note, said.actor) == ("missed", "pump", "leak", "ann")
    await parts.audit.note(mine.tenant_id, "bob", "system.changed", "system 1", "name")
    await parts.audit.note(None, "registry", "model.finish", "hdx-generic-catboost", "")
    found = [(note.actor, note.action, note.detail) for note in await parts.audit.newest(mine.tenant_id)]
    assert found[:2] == [("bob", "system.changed", "name"), ("ann", "feedback", "missed pump")]
    assert [note.action for note in await parts.audit.newest(theirs.tenant_id)] == ["system.added"]
    assert [note.actor for note in await parts.audit.newest(None, 1)] == ["registry"]


async def test_what_is_done_to_systems_and_documents_is_noted(parts: StoreParts) -> None:
    """Adding, changing, deleting and removing each leave one note, with who did it; what was not found leaves none."""
    tenant_id = await parts.tenants.ensure(uuid4().hex)
    number = (await parts.systems.add(tenant_id, "Press", "generic", "", "ann")).system_id
    await parts.systems.change(tenant_id, number, "Lift", None, "bob")
    await parts.systems.delete(tenant_id, number, "eve")
    await parts.documents.add(tenant_id, "press", "press.md", "0", b"# Press", "ann")
    await parts.documents.remove(tenant_id, "press", "bob")
    assert (await parts.documents.get(tenant_id, "press")).state == "removing"
    for missing in (
        parts.systems.change(tenant_id, number, "Hoist", None, "x"),
        parts.systems.delete(tenant_id, number, "x"),
        parts.documents.remove(tenant_id, "lift", "x"),
    ):
        with pytest.raises(NotFound):
            await missing
    notes = [(each.actor, each.action, each.subject, each.detail) for each in await parts.audit.newest(tenant_id)]
    assert notes[::-1] == [
        ("ann", "system.added", f"system {number}", "Press"),
        ("bob", "system.changed", f"system {number}", "name"),
        ("eve", "system.deleted", f"system {number}", ""),
        ("ann", "document.added", "press", "press.md"),
        ("bob", "document.removed", "press", ""),
    ]


async def test_it_answers(parts: StoreParts) -> None:
    """A store that is up says so by returning."""
    await parts.ping()
