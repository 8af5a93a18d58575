"""Rules of starting, stopping and starting again, on a PostgreSQL server given by its address."""

import subprocess
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from serve_app.processes import port_taken
from serve_app.store.migrate import create_database
from tests.serve.service import PORTS, Service

WINDOW = {"pressure": [100.5, 101.2, 99.8], "flow": [25.0, 24.8, 25.2]}


def test_a_start_reuses_what_the_last_one_left(remote_url: str, tmp_path: Path) -> None:
    """On a server given by its address the service starts, stops without a trace, and starts again with all it knew."""
    create_database(remote_url, "hdx")
    url = make_url(remote_url).set(database="hdx").render_as_string(hide_password=False)
    service = Service(tmp_path, {"HDX_DATABASE__URL": url}).start()
    try:
        assert "hdx train --family generic" in "".join(service.output)
        with service.client() as client:
            body = {"system_id": 1, "sensor_data": WINDOW}
            first = client.post("/api/diagnostics/anomaly/detect/", json=body).raise_for_status().json()
    finally:
        service.stop()
    assert service.process is not None
    assert service.process.returncode == 0
    assert not (service.home / "postgres").exists()
    assert leftovers(tmp_path) == []
    assert not any(port_taken("127.0.0.1", int(service.environment[f"HDX_{name}"])) for name in PORTS)

    secrets = (tmp_path / ".env").read_text(encoding="utf-8")
    service.start()
    try:
        printed = "".join(service.output)
        assert "hdx train" not in printed
        assert "hdx index" not in printed
        assert (tmp_path / ".env").read_text(encoding="utf-8") == secrets
        with service.client() as client:
            stored = client.get(f"/api/diagnostics/{first['trace_id']}/").raise_for_status().json()
            assert stored["answer"]["ensemble_score"] == first["ensemble_score"]
    finally:
        service.stop()


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
