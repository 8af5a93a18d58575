"""Rules of versions that move in a running service: whoever dies, and whatever was answered before."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from pipelines.datasets.simulator import simulate
from tests.serve.promotions import fleet, live_bundle, register, registry_of, settled
from tests.serve.service import Service
from tests.serve.test_service import detect, eventually, replicas

DETECTOR = "adaptive"
NAME = f"hdx-generic-{DETECTOR}"
BATCH = 200


def window(seed: int) -> dict[str, list[float]]:
    """A window of one of two lengths, now and then a faulty one."""
    made = simulate("healthy" if seed % 5 else "pump_wear", 0.8, 60 if seed % 2 else 5, seed)
    return {name: samples.tolist() for name, samples in made.values.items()}


@contextmanager
def load(service: Service, failures: list[str]) -> Iterator[None]:
    """Send windows all the while; note what was not answered."""
    stopped = threading.Event()

    def send() -> None:
        with service.client() as client:
            number = 0
            while not stopped.is_set():
                number += 1
                try:
                    detect(client, 1, window(number))
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                time.sleep(0.05)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def controller(service: Service) -> int:
    """Return the process of Serve's controller."""
    assert service.process is not None
    family = psutil.Process(service.process.pid).children(recursive=True)
    pid: int = next(process.pid for process in family if "ServeController" in " ".join(process.cmdline()))
    return pid


@pytest.mark.parametrize("victim", ["replica", "promoter", "controller"])
def test_whoever_dies_midway_the_fleet_ends_on_one_version(service: Service, victim: str) -> None:
    """Killed while a version is on its way in, a replica, the promoter or the controller costs no answer."""
    failures: list[str] = []
    version = register(service, live_bundle(service, DETECTOR), f"before the {victim} dies")
    with service.client() as client, load(service, failures):
        assert client.post(f"/api/models/{NAME}/promote/", json={"version": version}).status_code == 202
        assert eventually(lambda: fleet(client, DETECTOR).get("rollout") is not None)
        names = {"replica": f"Detector-{DETECTOR}", "promoter": "Promoter"}
        pid = controller(service) if victim == "controller" else replicas(service)[names[victim]].pop()
        os.kill(pid, signal.SIGKILL)
        assert eventually(settled(client, DETECTOR, version))
        votes = detect(client, 1, window(10**6 + int(version)))["ml_predictions"]  # in no cache
        assert next(vote["version"] for vote in votes if vote["ml_model"] == DETECTOR) == version
    assert failures == []


def test_the_command_line_moves_as_the_registry_does(service: Service) -> None:
    """`hdx promote` and `hdx rollback` write the request, `hdx models` shows it, and the replicas follow."""
    before = registry_of(service).state(NAME).live
    version = register(service, live_bundle(service, DETECTOR), "by the command line")
    refused = subprocess.run(
        [str(service.folder / ".venv" / "bin" / "hdx"), "promote", NAME, version, "--urgent"],
        cwd=service.folder, env=service.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--reason" in refused.stderr
    with service.client() as client:
        service.hdx("promote", NAME, version, "--urgent", "--reason", "line 4 stands")
        assert eventually(settled(client, DETECTOR, version))
        assert NAME in service.hdx("models")
        service.hdx("rollback", NAME)
        assert eventually(settled(client, DETECTOR, before))
    tags = registry_of(service)._get(
        "/api/2.0/mlflow/model-versions/get", name=NAME, version=version
    ).json()["model_version"]["tags"]  # fmt: skip
    reason = next(tag["value"] for tag in tags if tag["key"] == "rollout_reason")
    assert reason == "urgent, gates skipped: line 4 stands"


def test_a_thousand_answers_replay_bit_for_bit(service: Service) -> None:
    """Answers of three versions, of windows short and long, first and repeated, are given again to the last bit."""
    traces: list[str] = []
    bundle = live_bundle(service, DETECTOR)
    with service.client() as client:
        systems = [
            client.post("/api/systems/", json={"name": f"replay {n}", "family": "generic"}).json()["system_id"]
            for n in range(5)
        ]
        versions = set()
        for turn in range(3):
            if turn:
                version = register(service, bundle, f"replay {turn}")
                body = {"version": version, "urgent": True, "reason": "a test of replay"}
                client.post(f"/api/models/{NAME}/promote/", json=body).raise_for_status()
                assert eventually(settled(client, DETECTOR, version))
            answers = judged(client, systems, turn)
            traces += [answer["trace_id"] for answer in answers]
            versions |= {
                vote["version"] for a in answers for vote in a["ml_predictions"] if vote["ml_model"] == DETECTOR
            }
        assert len(traces) >= 1000
        assert len(versions) == 3
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda trace: client.post(f"/api/diagnostics/{trace}/replay/").json(), traces))
    assert [reply for reply in replies if not reply.get("identical")] == []


def judged(client: httpx.Client, systems: list[int], turn: int) -> list[dict[str, Any]]:
    """Return the answers to some hundred windows of several systems, some sent twice."""
    seeds = [1000 * turn + number for number in range(300)] + [1000 * turn + number for number in range(40)]
    items = [{"system_id": systems[seed % len(systems)], "sensor_data": window(seed)} for seed in seeds]
    found: list[dict[str, Any]] = []
    for first in range(0, len(items), BATCH):
        body = {"items": items[first : first + BATCH]}
        found += client.post("/api/diagnostics/anomaly/detect/batch/", json=body).raise_for_status().json()["results"]
    return found
