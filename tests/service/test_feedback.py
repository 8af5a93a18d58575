"""What people say of answers, in real PostgreSQL: kept, replaced, gone with its answer, and read for training."""

from dataclasses import replace
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from pipelines.errors import NotFound
from serve_app.store.records import StoredDiagnosis, Verdict
from serve_app.store.repository import Store
from tests.service.houses import House, diagnosis_of, make_house, normal_of
from tests.service.test_isolation import as_application


async def answered(store: Store, house: House, alarm: bool, family: str) -> StoredDiagnosis:
    """Store an answer about a machine of a family of its own."""
    stored = replace(
        diagnosis_of(house.system.system_id),
        family=family,
        answer=orjson.dumps({"prediction": {"is_anomaly": alarm}}),
        baseline=normal_of(3).to_bytes(),
    )
    await store.diagnoses.record(house.tenant_id, stored, None)
    return stored


async def test_the_last_word_counts_and_each_is_audited(store: Store) -> None:
    """A second word replaces the first, with its time; the audit keeps both, with who said them."""
    house = await make_house(store)
    trace_id = house.diagnosis.trace_id
    first = await store.feedback.give(house.tenant_id, trace_id, "confirmed", None, "", "ann")
    second = await store.feedback.give(house.tenant_id, trace_id, "missed", "pump", "leak", "bob")
    assert (second.verdict, second.component, second.note, second.actor) == ("missed", "pump", "leak", "bob")
    assert second.created_at > first.created_at
    (found,) = await store.feedback.labelled("generic", 10, house.tenant_id)
    assert (found.trace_id, found.truth, found.component) == (trace_id, True, "pump")
    notes = [note for note in await store.audit.newest(house.tenant_id) if note.action == "feedback"]
    assert [(note.actor, note.detail) for note in notes[:2]] == [("bob", "missed pump"), ("ann", "confirmed")]
    assert {note.subject for note in notes} == {f"diagnosis {trace_id}"}


async def test_of_anothers_answer_nothing_can_be_said(store: Store, url: str) -> None:
    """Another tenant's answer and one that is not there are not found, by the store and by raw SQL alike."""
    ours, theirs = await make_house(store), await make_house(store)
    for trace_id in (theirs.diagnosis.trace_id, uuid4()):
        with pytest.raises(NotFound, match="diagnosis"):
            await store.feedback.give(ours.tenant_id, trace_id, "missed", None, "", "ann")
    row = {"ours": ours.tenant_id, "theirs": theirs.tenant_id, "trace": theirs.diagnosis.trace_id}
    insert = "INSERT INTO feedback (tenant_id, trace_id, verdict, note, actor) VALUES ({}, :trace, 'missed', '', 'x')"
    for tenant, error in ((":ours", IntegrityError), (":theirs", ProgrammingError)):
        with as_application(url, ours.tenant_id) as connection, pytest.raises(error):
            connection.execute(text(insert.format(tenant)), row)
    with as_application(url, ours.tenant_id) as connection:
        changed = connection.execute(text("UPDATE feedback SET note = 'x' WHERE tenant_id = :theirs"), row)
        assert changed.rowcount == 0
    with as_application(url, ours.tenant_id) as connection, pytest.raises(ProgrammingError, match="permission"):
        connection.execute(text("DELETE FROM feedback"))


@pytest.mark.parametrize(
    ("alarm", "verdict", "truth"),
    [(True, "confirmed", True), (False, "confirmed", False), (True, "false_alarm", False), (False, "missed", True)],
)
async def test_a_window_is_labelled(store: Store, alarm: bool, verdict: Verdict, truth: bool) -> None:
    """What was answered and what is said of it give the label; window and baseline are those that were judged."""
    house, family = await make_house(store), uuid4().hex
    stored = await answered(store, house, alarm, family)
    await store.feedback.give(house.tenant_id, stored.trace_id, verdict, None, "", "ann")
    (found,) = await store.feedback.labelled(family, 10)
    assert (found.truth, found.window, found.baseline) == (truth, stored.window, stored.baseline)
    assert (found.tenant_id, found.system_id, found.family) == (house.tenant_id, house.system.system_id, family)


async def test_training_reads_all_tenants_or_one(store: Store) -> None:
    """A shared model learns from all tenants, newest word first; a tenant's own reads its own, whatever else is set."""
    ours, theirs, family = await make_house(store), await make_house(store), uuid4().hex
    said = []
    for house in (ours, theirs, ours):
        stored = await answered(store, house, True, family)
        await store.feedback.give(house.tenant_id, stored.trace_id, "confirmed", None, "", "ann")
        said.append(stored.trace_id)
    assert [found.trace_id for found in await store.feedback.labelled(family, 10)] == said[::-1]
    assert [found.trace_id for found in await store.feedback.labelled(family, 2)] == said[:0:-1]
    assert [found.trace_id for found in await store.feedback.labelled(family, 10, ours.tenant_id)] == [said[2], said[0]]
    assert [found.trace_id for found in await store.feedback.labelled(family, 10, theirs.tenant_id)] == [said[1]]
    assert await store.feedback.labelled(uuid4().hex, 10) == []


async def test_reading_for_training_writes_nothing(store: Store, url: str) -> None:
    """The setting that opens all tenants' words and answers opens them for reading alone."""
    await make_house(store)
    with as_application(url, None) as connection:
        connection.execute(text("SELECT set_config('hdx.learning', 'all', false)"))
        assert connection.execute(text("SELECT count(*) FROM feedback")).scalar()
        assert connection.execute(text("SELECT count(*) FROM diagnoses")).scalar()
        assert connection.execute(text("SELECT count(*) FROM systems")).scalar() == 0
        assert connection.execute(text("UPDATE feedback SET note = 'x'")).rowcount == 0


async def test_feedback_goes_with_its_system(store: Store, url: str) -> None:
    """A system that is deleted takes its answers and what was said of them along."""
    house = await make_house(store)
    await store.systems.delete(house.tenant_id, house.system.system_id)
    with as_application(url, house.tenant_id) as connection:
        assert connection.execute(text("SELECT count(*) FROM feedback")).scalar() == 0
