"""What strangers' log-ins take from detection on a running service: a tenth at most."""

import time
from collections.abc import Iterator
from statistics import median

import httpx
import pytest

from benchmarks.log_ins import DETECT, HEALTHY, LEAST, flood, measure
from tests.serve.service import Service


@pytest.fixture(autouse=True)
def calm(service: Service) -> Iterator[None]:
    """Leave the service as it was: tests behind these log in from the same address."""
    yield
    right = {"username": "admin", "password": service.environment["HDX_ADMIN_PASSWORD"]}
    ends = time.monotonic() + 300
    while httpx.post(f"{service.base}/api/auth/login/", json=right, timeout=60).status_code != 200:
        assert time.monotonic() < ends
        time.sleep(5)


def test_a_flood_of_log_ins_takes_a_tenth_at_most(service: Service) -> None:
    """Verdicts in seconds with a flood of invented names, to those in the seconds beside them without one.

    Other work on the machine may spoil one measurement; a service that does not hold it spoils all three.
    """
    with service.client() as client:
        headers = {"authorization": client.headers["authorization"]}
    for _ in range(3):
        if median(measure(service.base, headers, rounds=3, seconds=5.0)) >= LEAST:
            return
    raise AssertionError("a flood of log-ins takes more than a tenth of detection")


def test_who_is_known_works_on_in_a_flood(service: Service) -> None:
    """From the very address of the flood a token's requests go on, a known device logs in, and a stranger waits."""
    with service.client() as client:
        device = {"cookie": f"hdx_device={client.cookies['hdx_device']}"}
        right = {"username": "admin", "password": service.environment["HDX_ADMIN_PASSWORD"]}
        with flood(service.base, 60):
            for _ in range(20):
                assert client.post(DETECT, json={"system_id": 1, "sensor_data": HEALTHY}).status_code == 200
            refused = httpx.post(f"{service.base}/api/auth/login/", json=right, timeout=60)
            known = httpx.post(f"{service.base}/api/auth/login/", json=right, headers=device, timeout=60)
    assert (refused.status_code, known.status_code) == (429, 200)
    assert int(refused.headers["retry-after"]) > 0
