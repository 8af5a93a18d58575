"""What is read of all tenants for the models, and of one tenant's documents, in real PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import pytest

from pipelines.errors import NotFound
from serve_app.store.records import StoredDiagnosis
from serve_app.store.repository import Store
from tests.service.houses import House, diagnosis_of, make_house, normal_of

BEGAN = datetime.now(UTC) - timedelta(hours=1)  # young enough that no retention takes it


async def answered(store: Store, house: House, family: str, minute: int) -> StoredDiagnosis:
    """Store an answer of a minute."""
    stored = replace(
        diagnosis_of(house.system.system_id),
        family=family,
        created_at=BEGAN + timedelta(minutes=minute),
        answer=orjson.dumps({"prediction": {"anomaly_score": minute / 100, "is_anomaly": minute > 1}}),
        baseline=normal_of(minute).to_bytes(),
    )
    await store.diagnoses.record(house.tenant_id, stored, None)
    return stored


async def test_a_version_is_tried_on_the_newest_windows_of_all_tenants(store: Store) -> None:
    """Of a family the newest windows come first, whoever's they are; those of other families never."""
    ours, theirs = await make_house(store), await make_house(store)
    family = uuid4().hex
    for minute, house in enumerate((ours, theirs, ours)):
        await answered(store, house, family, minute)
    await answered(store, theirs, uuid4().hex, 9)
    newest = [normal_of(minute).to_bytes() for minute in (2, 1, 0)]
    assert [window.baseline for window in await store.promotions.recent(family, 10)] == newest
    assert [window.baseline for window in await store.promotions.recent(family, 2)] == newest[:2]


async def test_what_was_answered_since_a_moment_is_read_once(store: Store) -> None:
    """Answers after a moment, not those of that moment, come in the order of time with what drift is judged by."""
    ours, theirs = await make_house(store), await make_house(store)
    family = uuid4().hex
    kept = [await answered(store, house, family, minute) for minute, house in enumerate((ours, theirs, ours))]
    seen = [each for each in await store.promotions.seen_since(kept[0].created_at, 100_000) if each.family == family]
    assert [(each.tenant_id, each.system_id, each.score, each.created_at) for each in seen] == [
        (theirs.tenant_id, theirs.system.system_id, 0.01, kept[1].created_at),
        (ours.tenant_id, ours.system.system_id, 0.02, kept[2].created_at),
    ]
    assert [(each.window, each.baseline) for each in seen] == [(each.window, each.baseline) for each in kept[1:]]
    (first,) = await store.promotions.seen_since(BEGAN - timedelta(days=1), 1)
    assert first.created_at <= kept[0].created_at


async def test_what_was_found_since_a_moment_is_read_once(store: Store) -> None:
    """Feedback after a moment comes in the order of time, of all tenants, each with the score it speaks of."""
    ours, theirs = await make_house(store), await make_house(store)
    family = uuid4().hex
    rows = [(await answered(store, house, family, minute), house) for minute, house in enumerate((ours, theirs), 1)]
    said = [
        await store.feedback.give(house.tenant_id, each.trace_id, "confirmed", None, "", "ann") for each, house in rows
    ]
    every = await store.feedback.verified_since(said[0].created_at - timedelta(microseconds=1), 100_000)
    found = [each for each in every if each.family == family]
    assert [(each.tenant_id, each.score, each.truth) for each in found] == [
        (ours.tenant_id, 0.01, False),
        (theirs.tenant_id, 0.02, True),
    ]
    later = await store.feedback.verified_since(said[0].created_at, 100_000)
    assert [each.tenant_id for each in later if each.family == family] == [theirs.tenant_id]


async def test_the_last_answer_is_a_systems_newest(store: Store) -> None:
    """It is the newest of that system, not of its neighbour, and nothing while there is none."""
    house = await make_house(store)
    other = await store.systems.add(house.tenant_id, "Lathe", "generic", "")
    assert await store.diagnoses.last(house.tenant_id, other.system_id) is None
    newer = replace(diagnosis_of(other.system_id), created_at=BEGAN + timedelta(minutes=1))
    for each in (newer, replace(diagnosis_of(other.system_id), created_at=BEGAN)):
        await store.diagnoses.record(house.tenant_id, each, None)
    assert await store.diagnoses.last(house.tenant_id, other.system_id) == newer
    assert await store.diagnoses.last(house.tenant_id, house.system.system_id) == house.diagnosis


async def test_one_document_goes_and_its_namesake_stays(store: Store) -> None:
    """Dropping what is going drops no other, of its name or not; what is not going stays."""
    house = await make_house(store)
    for key, name in (("press-2", "press.md"), ("lathe", "lathe.md")):
        await store.documents.add(house.tenant_id, key, name, key, b"# Text")
    await store.documents.drop(house.tenant_id, "lathe")
    await store.documents.remove(house.tenant_id, "press")
    await store.documents.drop(house.tenant_id, "press")
    assert [each.document_id for each in await store.documents.page(house.tenant_id, "", 10)] == ["lathe", "press-2"]


async def test_a_tenant_is_found_by_its_name_alone(store: Store) -> None:
    """A tenant that is there has its id, one that is not is not found."""
    ours, _ = await make_house(store), await make_house(store)
    assert await store.tenants.get(ours.username) == ours.tenant_id
    with pytest.raises(NotFound, match="tenant"):
        await store.tenants.get(uuid4().hex)


async def test_one_key_is_revoked(store: Store) -> None:
    """Revoking a key ends that one; the tenant's others go on."""
    house = await make_house(store)
    await store.keys.add(house.tenant_id, "line 5", "viewer", b"k" * 16 + house.key[16:])
    (number,) = [key.key_id for key in await store.keys.page(house.tenant_id) if key.name == "line 5"]
    await store.keys.revoke(house.tenant_id, number)
    assert await store.keys.principal(b"k" * 16 + house.key[16:]) is None
    assert await store.keys.principal(house.key) is not None


async def test_spellings_of_a_log_in_fold_to_one(store: Store) -> None:
    """The count of attempts is kept by what the server takes all spellings for."""
    assert await store.accounts.folded(" Ann@Example.com ") == await store.accounts.folded("ANN@example.COM")
    assert await store.accounts.folded("ann") != await store.accounts.folded("bob")


async def test_findings_of_a_system_come_newest_first_with_what_people_said(store: Store) -> None:
    """Only what is anomalous, only of that system and tenant, only since the moment."""
    ours, theirs = await make_house(store), await make_house(store)
    kept = []
    for minute, house, components in ((0, ours, ["pump"]), (1, ours, []), (2, ours, ["pump"]), (3, theirs, ["pump"])):
        prediction = {
            "is_anomaly": bool(components),
            "severity": "critical",
            "anomaly_type": "leakage",
            "affected_components": components,
        }
        stored = replace(
            diagnosis_of(house.system.system_id),
            created_at=BEGAN + timedelta(minutes=minute),
            answer=orjson.dumps({"prediction": prediction}),
        )
        await store.diagnoses.record(house.tenant_id, stored, None)
        kept.append(stored)
    await store.feedback.give(ours.tenant_id, kept[0].trace_id, "confirmed", "pump", "seal replaced", "ann")
    found = await store.diagnoses.findings(ours.tenant_id, ours.system.system_id, BEGAN - timedelta(minutes=1))
    assert [each.trace_id for each in found] == [kept[2].trace_id, kept[0].trace_id]
    assert [(each.components, each.verdict, each.note) for each in found] == [
        (("pump",), None, ""),
        (("pump",), "confirmed", "seal replaced"),
    ]
    assert len(await store.diagnoses.findings(ours.tenant_id, ours.system.system_id, kept[1].created_at)) == 1
    assert await store.diagnoses.findings(theirs.tenant_id, ours.system.system_id, BEGAN) == []
