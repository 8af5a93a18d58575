"""What has outlived its days goes, of all tenants, and nothing else does."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from configs.settings import Retention
from pipelines.errors import NotFound, Unauthenticated
from serve_app.store import retention
from serve_app.store.repository import Store
from tests.service.houses import PLACE, House, diagnosis_of, make_house, soon

DAYS = Retention()


async def answered(store: Store, house: House, days: float) -> UUID:
    """Store an answer that was given so many days ago, with its advice."""
    began = datetime.now(UTC) - timedelta(days=days)
    answer = replace(diagnosis_of(house.system.system_id), created_at=began)
    await store.diagnoses.record(house.tenant_id, answer, None)
    await store.diagnoses.consult(house.tenant_id, answer.trace_id, [{"document_id": "press"}])
    return answer.trace_id


async def is_kept(store: Store, house: House, trace_id: UUID) -> bool:
    """Tell whether an answer is there."""
    try:
        await store.diagnoses.get(house.tenant_id, trace_id)
    except NotFound:
        return False
    return True


async def test_answers_go_but_for_those_spoken_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every tenant old answers go with their advice, however many transactions that takes; the rest stays."""
    monkeypatch.setattr(retention, "ROWS_MAX", 2)
    houses = [await make_house(store), await make_house(store)]
    old = [(house, await answered(store, house, DAYS.diagnoses_days + 1)) for house in houses for _ in range(3)]
    young = [(house, await answered(store, house, DAYS.diagnoses_days - 1)) for house in houses]
    house, spoken_of = houses[0], await answered(store, houses[0], DAYS.diagnoses_days + 9)
    await store.feedback.give(house.tenant_id, spoken_of, "confirmed", None, "", "ann")
    assert (await store.retention.clear(DAYS))["diagnoses"] >= len(old)
    assert [await is_kept(store, *each) for each in old] == [False] * len(old)
    assert [await is_kept(store, *each) for each in [*young, (house, spoken_of)]] == [True] * 3
    assert await store.diagnoses.passages(old[0][0].tenant_id, old[0][1]) == []
    assert (await store.retention.clear(DAYS))["diagnoses"] == 0


async def test_answers_to_questions_go_with_what_was_said(store: Store, url: str) -> None:
    """An old answer goes with what was said of it, of every tenant; a young one stays."""
    houses, mark = [await make_house(store), await make_house(store)], uuid4().hex
    for house in houses:
        for question in (f"old {mark}", f"young {mark}"):
            trace_id = uuid4()
            await store.answers.add(house.tenant_id, trace_id, question, [PLACE], False)
            await store.answers.give(house.tenant_id, trace_id, "user 1", "wrong", "", "ann")
        with create_engine(url, poolclass=NullPool).begin() as connection:  # as the owner of the tables
            connection.execute(text("SELECT set_config('hdx.tenant', :id, false)"), {"id": str(house.tenant_id)})
            query = "UPDATE answers SET created_at = now() - :days * interval '1 day' WHERE question = :question"
            given = {"days": DAYS.diagnoses_days + 1, "question": f"old {mark}"}
            assert connection.execute(text(query), given).rowcount
    assert (await store.retention.clear(DAYS))["answers"] >= 2
    for house in houses:
        found = await store.answers.spoken_of(house.tenant_id, datetime.now(UTC) - timedelta(days=1), 10)
        assert [each.question for each in found if mark in each.question] == [f"young {mark}"]


async def test_ended_sessions_go(store: Store) -> None:
    """Refresh tokens long past their end go; those that still hold do not."""
    house, ended = await make_house(store), uuid4()
    days = timedelta(days=DAYS.sessions_days + 1)
    await store.sessions.start(house.user_id, uuid4(), ended, datetime.now(UTC) - days)
    assert (await store.retention.clear(DAYS))["sessions"] >= 1
    with pytest.raises(Unauthenticated):
        await store.sessions.rotate(ended, uuid4(), soon())
    await store.sessions.rotate(house.token_id, uuid4(), soon())


async def test_a_failure_does_not_end_the_clearing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a clearing that fails, whatever it raises, the next one comes; asking again starts no second one."""
    tried = asyncio.Semaphore(0)

    async def fail(_: Retention) -> dict[str, int]:
        tried.release()
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr(retention, "EVERY_S", 0.01)
    monkeypatch.setattr(store.retention, "clear", fail)
    store.retention.keep_up(DAYS)
    task = store.retention._clearing
    async with asyncio.timeout(5):
        for _ in range(3):
            await tried.acquire()
    store.retention.keep_up(DAYS)
    assert store.retention._clearing is task
    assert task is not None
    task.cancel()
