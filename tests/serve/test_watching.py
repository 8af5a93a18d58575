"""Readings alone commission a system and raise its alarm: the whole graph, and nobody asks it for a verdict."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from pipelines.datasets.simulator import HEALTHY, simulate
from pipelines.machines.commissioning import NEEDED
from pipelines.machines.family import read_family
from pipelines.signals.windows import Window
from tests.serve.service import Service
from tests.serve.test_service import eventually

FAMILY = read_family("generic")
SAMPLES = int(FAMILY.window_s)
LEVELS = {name: channel.typical for name, channel in FAMILY.channels.items()}


def send(client: httpx.Client, system_id: int, begin: datetime, window: Window) -> datetime:
    """Send samples as readings, one a second after a moment; return the moment of the last."""
    rows = [
        {"at": (begin + timedelta(seconds=number + 1)).isoformat()}
        | {name: float(samples[number]) for name, samples in window.values.items()}
        for number in range(window.samples)
    ]
    client.post(f"/api/systems/{system_id}/readings/", json={"readings": rows}).raise_for_status()
    return begin + timedelta(seconds=window.samples)


def test_readings_alone_raise_an_alarm(service: Service) -> None:
    """Twenty windows commission the machine, a worn pump raises the alarm, and events tell both in their order."""
    now = int(datetime.now(UTC).timestamp()) - 3600
    begin = datetime.fromtimestamp(now - now % SAMPLES, UTC)
    with service.client() as client:
        added = client.post("/api/systems/", json={"name": "Watched", "family": "generic"})
        path = f"/api/systems/{added.json()['system_id']}/"

        def events() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get(f"{path}events/").raise_for_status().json()["events"]
            return found

        system_id = added.json()["system_id"]
        worn = send(client, system_id, begin, simulate(HEALTHY, 0.0, (NEEDED + 10) * SAMPLES, 5, LEVELS))
        end = send(client, system_id, worn, simulate("pump_wear", 0.8, 15 * SAMPLES, 6, LEVELS))
        assert eventually(lambda: client.get(path).json()["watched_until"] == end.isoformat())
        found = client.get(path).json()
        assert (found["state"], found["alarm"]["raised"]) == ("monitoring", True)
        told = events()
        assert [each["kind"] for each in told] == ["state.changed", "alarm.raised"]
        assert worn < datetime.fromisoformat(told[1]["at"]) <= end
        kept = client.get(f"/api/diagnostics/{told[1]['trace_id']}/").json()
        assert kept["answer"]["prediction"]["is_anomaly"] is True
