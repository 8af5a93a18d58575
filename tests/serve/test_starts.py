"""Rules of starting, stopping and starting again, on a PostgreSQL server given by its address."""

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from pipelines.datasets.simulator import simulate
from serve_app.local.processes import port_taken
from serve_app.store.migrate import create_database
from tests.contract.calls import STREAM
from tests.serve.model import Model
from tests.serve.service import PORTS, Service

FAULTS = ("healthy", "pump_wear", "valve_lag", "sensor_drift")
WINDOW = {"pressure": [100.5, 101.2, 99.8], "flow": [25.0, 24.8, 25.2]}


@pytest.mark.timeout(1200, func_only=True)  # two starts, one of which trains, beside another worker's tests
def test_a_start_reuses_what_the_last_one_left(remote_url: str, tmp_path: Path) -> None:
    """The service starts, stops without a trace, and starts again with all it knew, but otherwise set up.

    Then it is packed, without the front and with a language model: where the detectors live changes no answer, nor does
    what Ray sends requests by.
    """
    create_database(remote_url, "hdx")
    url = make_url(remote_url).set(database="hdx").render_as_string(hide_password=False)
    service = Service(tmp_path, {"HDX_DATABASE__URL": url, "HDX_MODELS__SIMULATED_MACHINES": "12"}).start()
    try:
        assert "hdx train --family generic" in "".join(service.output)
        with service.client() as client:
            body = {"system_id": 1, "sensor_data": WINDOW}
            first = client.post("/api/diagnostics/anomaly/detect/", json=body).raise_for_status().json()
        spread = judgements(service)
        assert "Detector-catboost" in service.hdx("status")
    finally:
        service.stop()
    assert service.process is not None
    assert service.process.returncode == 0
    assert not (service.home / "postgres").exists()
    assert leftovers(tmp_path) == []
    assert not any(port_taken("127.0.0.1", int(service.environment[f"HDX_{name}"])) for name in PORTS)

    secrets = (tmp_path / ".env").read_text(encoding="utf-8")
    model = Model()
    service.environment |= {"HDX_GRAPH__PLACEMENT": "packed", "HDX_HAPROXY": "false"}
    service.environment |= {"HDX_KNOWLEDGE__GENERATOR": "openai", "HDX_KNOWLEDGE__OPENAI_URL": model.url}
    service.start()
    try:
        printed = "".join(service.output)
        assert "hdx train" not in printed
        assert "hdx index" not in printed
        assert (tmp_path / ".env").read_text(encoding="utf-8") == secrets
        with service.client() as client:
            stored = client.get(f"/api/diagnostics/{first['trace_id']}/").raise_for_status().json()
            assert stored["answer"]["ensemble_score"] == first["ensemble_score"]
        status = service.hdx("status")
        assert "Gateway" in status
        assert "Ensemble" not in status
        assert "Detector-catboost" not in status
        assert judgements(service) == spread
        check_model(service, model)
    finally:
        service.stop()


def check_model(service: Service, model: Model) -> None:
    """Whoever leaves stops the model; one that dies in its answer, or is not there, costs no answer."""
    question = {"query": "How to fix a pressure drop?"}
    with service.client() as client:
        with client.stream("POST", "/api/rag/query/", json=question, headers=STREAM) as reply:
            lines = reply.iter_lines()
            assert next(lines) == "event: sources"
            assert any(line == "event: token" for line in lines)
            assert not model.left.is_set()
        assert model.left.wait(15)
        model.manner = "dies"
        carried_on = client.post("/api/rag/query/", json=question).raise_for_status().json()
        assert carried_on["metadata"]["degraded"]
        assert len(carried_on["citations"]) > 1
        model.close()
        alone = client.post("/api/rag/query/", json=question).raise_for_status().json()
        assert (alone["metadata"]["degraded"], alone["metadata"]["model"]) == (True, "extractive")
        assert alone["citations"]


def judgements(service: Service) -> list[dict[str, Any]]:
    """Return what the service says of some windows, in every detail; the time that it took is left out."""
    key = {"X-Internal-API-Key": service.secret("HDX_ML_INTERNAL_API_KEY")}
    windows = [simulate(fault, 0.5, 20, seed).values for seed, fault in enumerate(FAULTS)]
    data = [{"system_id": 1, **{name: samples.tolist() for name, samples in values.items()}} for values in windows]
    items = [
        {"sensor_data": each, "use_cache": False, "detail": detail}
        for each in data
        for detail in ("score", "components", "full")
    ]
    url = f"{service.base}/internal/ml/api/v1/predict/batch"
    found = httpx.post(url, json={"items": items}, headers=key, timeout=60).raise_for_status().json()["results"]
    scores = [result["ensemble_score"] for result in found]
    assert scores[::3] == scores[1::3] == scores[2::3]
    assert [bool(result["attribution"]) for result in found[:3]] == [False, False, True]
    assert [bool(result["prediction"]["components"]) for result in found[:3]] == [False, True, True]
    return [{name: result[name] for name in ("prediction", "attribution", "data_quality")} for result in found]


def leftovers(folder: Path) -> list[str]:
    """Return the command lines that still name the folder, a little after its service was stopped."""
    end = time.monotonic() + 20
    while True:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
        found = [line for line in listed if f"{folder}/var" in line]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.5)


def test_a_taken_port_is_named(tmp_path: Path, service: Service) -> None:
    """A second service on the same ports does not start, and says which port and which setting moves it."""
    second = Service(tmp_path, {"HDX_PORT": service.environment["HDX_PORT"]})
    with pytest.raises(AssertionError, match=f"port {service.environment['HDX_PORT']}.*HDX_PORT"):
        second.start()
