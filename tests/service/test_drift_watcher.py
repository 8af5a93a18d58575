"""Drift as the promoter sees it, in real PostgreSQL: over all tenants, behind every answer, and bounded."""

from dataclasses import replace
from uuid import uuid4

import orjson

from pipelines.datasets.simulator import simulate
from pipelines.machines.family import read_family
from serve_app.replicas.drift_watcher import DriftWatcher, system_name
from serve_app.store.repository import Store
from tests.service.houses import House, diagnosis_of, make_house

LEVELS = {name: channel.typical for name, channel in read_family("generic").channels.items()}


async def send(store: Store, house: House, count: int, first: int, shift: float) -> None:
    """Store the answers to windows of a healthy machine whose temperature sensor reads too much."""
    for number in range(count):
        window = simulate("healthy", 0.0, 20, first + number, LEVELS)
        values = {name: samples.tolist() for name, samples in window.values.items()}
        values["temperature"] = [value + shift for value in values["temperature"]]
        stored = replace(
            diagnosis_of(house.system.system_id),
            window={"values": values, "rate_hz": window.rate_hz},
            answer=orjson.dumps({"prediction": {"is_anomaly": False, "anomaly_score": 0.1}}),
        )
        await store.diagnoses.record(house.tenant_id, stored, None)


async def test_a_shifted_sensor_is_found_behind_the_answers(store: Store) -> None:
    """After a shift the system drifts by that channel; one beside it, of another tenant, does not."""
    moved, quiet = await make_house(store), await make_house(store)
    watcher = DriftWatcher(store)
    for house, shift in ((moved, 8.0), (quiet, 0.0)):
        await send(store, house, 250, 1000, 0.0)
        await send(store, house, 80, 5000, shift)
    await watcher.look()
    states = {state.system: state for state in watcher.states()["generic"]}
    found = states[system_name(moved.tenant_id, moved.system.system_id)].of("input")
    assert found.drifting
    assert "temperature" in found.what
    assert system_name(quiet.tenant_id, quiet.system.system_id) not in states


async def test_each_answer_is_read_once(store: Store) -> None:
    """A second look takes in what is new, and no answer twice; a new watcher remembers the day before."""
    house = await make_house(store)
    name = system_name(house.tenant_id, house.system.system_id)
    watcher = DriftWatcher(store)
    await watcher.look()
    await send(store, house, 7, 0, 0.0)
    for _ in range(2):
        await watcher.look()
    other = DriftWatcher(store)
    await other.look()
    for each in (watcher, other):
        assert each._watch("generic").monitors[name].windows == 8  # the seven, and the one of the house


async def test_a_row_that_cannot_be_read_stops_nothing(store: Store) -> None:
    """A baseline of wrong bytes and a window of words are passed over, once; those beside and behind are taken in."""
    bad, house = await make_house(store), await make_house(store)
    answer = orjson.dumps({"prediction": {"is_anomaly": False, "anomaly_score": 0.1}})
    row = diagnosis_of(bad.system.system_id)
    words = {"values": {"pressure": ["high"]}, "rate_hz": 1.0}
    watcher = DriftWatcher(store)
    await watcher.look()
    for wrong in (replace(row, baseline=b"wrong", answer=answer), replace(row, trace_id=uuid4(), window=words)):
        await store.diagnoses.record(bad.tenant_id, wrong, None)
    await send(store, house, 3, 0, 0.0)
    for _ in range(2):
        await watcher.look()
    seen = {name: monitor.windows for name, monitor in watcher._watch("generic").monitors.items()}
    assert seen[system_name(house.tenant_id, house.system.system_id)] == 4  # the three, and the one of the house
    assert seen[system_name(bad.tenant_id, bad.system.system_id)] == 1


async def test_a_family_that_was_removed_stops_nothing(store: Store) -> None:
    """Answers of a family that is no longer shipped are passed over; those of the others are taken in."""
    gone, house = await make_house(store), await make_house(store)
    answer = orjson.dumps({"prediction": {"is_anomaly": False, "anomaly_score": 0.1}})
    removed = replace(diagnosis_of(gone.system.system_id), family="removed", answer=answer)
    await store.diagnoses.record(gone.tenant_id, removed, None)
    await store.feedback.give(gone.tenant_id, removed.trace_id, "confirmed", None, "", "operator")
    watcher = DriftWatcher(store)
    await watcher.look()
    assert system_name(house.tenant_id, house.system.system_id) in watcher._watch("generic").monitors
    assert "removed" not in watcher.states()


async def test_what_is_noted_of_models_is_no_tenants(store: Store) -> None:
    """The audit of promotions is read by its own setting alone, and a tenant sees none of it."""
    house = await make_house(store)
    await store.audit.note(None, "registry", "model.finish", "hdx-generic-catboost", "1 -> 2: every gate held")
    assert (await store.audit.newest(None, 1))[0].detail == "1 -> 2: every gate held"
    assert not [line for line in await store.audit.newest(house.tenant_id) if line.action.startswith("model.")]


async def test_a_candidate_is_tried_on_all_tenants_windows(store: Store) -> None:
    """The newest windows of a family come back with their baselines, whoever sent them; no tenant id goes with them."""
    houses = [await make_house(store) for _ in range(2)]
    for house in houses:
        await send(store, house, 2, 1, 0.0)
    found = await store.promotions.recent("generic", 4)
    assert len(found) == 4
    assert all(set(each.window) == {"values", "rate_hz"} for each in found)
