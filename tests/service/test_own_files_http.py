"""From a file to an alarm by the API alone: a kind proposed, a system commissioned, and its windows judged."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serve_app.store.repository import Store
from tests.service.own_exports import FAULT, KNOWN, LENGTH, MAKERS, Export
from tests.service.strangers import Json, Stranger, new_key, stranger
from tests.service.test_own_files import FILES, OWN, TAGS


@pytest.fixture
async def owner(embedded_url: str, tmp_path: Path) -> AsyncIterator[Stranger]:
    """Somebody with a key of a new tenant."""
    store = Store.open(embedded_url, 2)
    key = await new_key(store)
    await store.close()
    with stranger(embedded_url, tmp_path, key) as found:
        yield found


def walk(owner: Stranger, export: Export, end_s: float) -> list[tuple[float, Json]]:
    """Go from a file to the answers on its windows after those that are learned; return each with its first second."""
    told = {"zone": export.zone, "column": list(export.said)}
    name = {"name": "own"}
    proposal = owner.send("/api/families/proposal/", export.content, export.content_type, **name, **told)
    assert proposal["asked"] == []
    family = owner.ask("POST", "/api/families/", json=proposal["definition"])
    system = owner.ask("POST", "/api/systems/", json={"name": "Machine", "family": family["name"]})["system_id"]
    path, one = f"/api/systems/{system}/", told | {"machine": export.machine}
    span = {"from": export.begin.isoformat(), "to": export.at(KNOWN).isoformat()}
    tried = owner.send(f"{path}baseline/file/", export.content, export.content_type, dry_run=True, **one, **span)
    assert tried["baseline"]["state"] == "commissioning"
    taught = owner.send(f"{path}baseline/file/", export.content, export.content_type, **one, **span)
    assert (taught["baseline"]["state"], taught["windows_read"]) == ("monitoring", tried["windows_read"])
    sent = owner.send(f"{path}readings/", export.content, export.content_type, **one | {"zone": export.zone or "UTC"})
    assert sent["written"] > LENGTH
    rate = next(iter(family["channels"].values()))["rate_hz"]
    begin, seconds = export.at(KNOWN), family["window_s"]
    answers = owner.judged(system, begin, export.at(end_s), seconds, rate)
    return [((at - export.begin).total_seconds(), answer) for at, answer in answers]


def check(answers: list[tuple[float, Json]], fault: float | None, channel: str) -> None:
    """Check that nothing is said before a fault, and that its alarm names its channel."""
    before = [answer for at, answer in answers if fault is None or at + 60 <= fault]
    assert len(before) >= 3
    assert {answer["prediction"]["severity"] for answer in before} == {"normal"}
    assert not before[-1]["system"]["alarm"]["raised"]
    if fault is None:
        return
    after = [answer for at, answer in answers if at >= fault]
    assert all(answer["prediction"]["is_anomaly"] for answer in after)
    evidence = [answer["system"]["alarm"]["evidence"] for answer in after]
    assert evidence == sorted(evidence)
    assert after[-1]["system"]["alarm"]["raised"]
    loudest = max(after[-1]["attribution"], key=lambda share: share["contribution"])
    assert loudest["channel"] == channel


@pytest.mark.skipif(not OWN.exists(), reason="the shared cases are not here")
@pytest.mark.parametrize("file", FILES)
def test_a_shared_file_goes_to_its_alarm(owner: Stranger, file: str) -> None:
    """The four exports of others, sent as they stand."""
    begun, fault = FILES[file]
    begin = datetime.fromisoformat(begun).replace(tzinfo=UTC)
    said = tuple(TAGS) if "long" in file else ()
    export = Export(file, (OWN / file).read_bytes(), begin, "flow", said)
    check(walk(owner, export, LENGTH), fault, "flow")


@pytest.mark.parametrize("maker", MAKERS)
def test_an_export_goes_to_its_alarm(owner: Stranger, maker: str) -> None:
    """Exports with other quirks, each with a fault that was put in."""
    export = MAKERS[maker]()
    check(walk(owner, export, LENGTH), FAULT, export.channel)


def test_a_minute_is_not_lost_between_two_spans(owner: Stranger) -> None:
    """What is read back of a file is what stands in it."""
    export = MAKERS["logger"]()
    family = {"name": "own", "title": "x", "channels": {"pressure": {"unit": "bar"}}}
    owner.ask("POST", "/api/families/", json=family)
    system = owner.ask("POST", "/api/systems/", json={"name": "x", "family": "own"})["system_id"]
    owner.send(f"/api/systems/{system}/readings/", export.content, "text/csv", zone="UTC")
    seen = [owner.window(system, export.begin + timedelta(minutes=minute), 60, 1.0)["pressure"] for minute in range(25)]
    assert sum(value is not None for each in seen for value in each) == LENGTH - sum(
        place % 211 == 7 and place % 4 == 0 for place in range(LENGTH)
    )


async def test_a_file_is_seen_by_its_tenant_alone(owner: Stranger, embedded_url: str) -> None:
    """Another tenant neither teaches nor fills a foreign system, and learns nothing of it or of its kind."""
    store = Store.open(embedded_url, 2)
    other = Stranger(owner.client, await new_key(store))
    export = MAKERS["logger"]()
    proposal = owner.send("/api/families/proposal/", export.content, "text/csv", name="own")
    assert owner.ask("GET", "/api/families/")["families"][-1]["built_in"]  # a proposal is kept nowhere
    owner.ask("POST", "/api/families/", json=proposal["definition"])
    system = owner.ask("POST", "/api/systems/", json={"name": "x", "family": "own"})["system_id"]
    for path in ("baseline/file/", "baseline/file/?dry_run=true", "readings/?zone=UTC"):
        headers = {"x-api-key": other.key, "content-type": "text/csv"}
        reply = owner.client.post(f"/api/systems/{system}/{path}", content=export.content, headers=headers)
        assert reply.status_code == 404, reply.text
    assert owner.ask("GET", f"/api/systems/{system}/baseline/")["state"] == "commissioning"
    assert owner.ask("GET", f"/api/systems/{system}/readings/")["channels"] == []
    assert "own" not in {each["name"] for each in other.ask("GET", "/api/families/")["families"]}
    await store.close()
