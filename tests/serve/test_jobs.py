"""A file that is more than one request takes becomes readings while a service runs."""

from tests.serve.service import Service

ROWS = 30_000


def test_a_large_file_is_sent_from_the_command_line(service: Service) -> None:
    """`hdx readings` waits until the worker has kept all of it, and says what became of every value."""
    moments = [f"2026-03-01T00:{n // 6000:02d}:{n % 6000 / 100:06.3f}Z" for n in range(ROWS)]
    lines = [f"{at},{100 + n % 7},25.5" for n, at in enumerate(moments)]
    file = service.folder / "logger.csv"
    file.write_text("\n".join(["time,pressure [bar],flow [l/min]", *lines]), encoding="utf-8")
    with service.client() as client:
        added = client.post("/api/systems/", json={"name": "Sent as a file", "family": "generic"}).raise_for_status()
        system_id = added.json()["system_id"]
        told = service.hdx("readings", str(file), "--system", str(system_id))
        (job,) = [each for each in client.get("/api/jobs/").json()["jobs"] if each["system_id"] == system_id]
    assert (job["state"], job["progress"]) == ("done", {"done": 2 * ROWS, "total": 2 * ROWS})
    assert job["report"]["written"] == 2 * ROWS
    assert job["job_id"] in told
    assert f"{2 * ROWS} written" in told
