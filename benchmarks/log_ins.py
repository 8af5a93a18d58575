"""What a flood of log-ins takes from detection: `python -m benchmarks.log_ins`.

Seconds with a flood of invented names and seconds without take turns on one service, so that both meet the same moments
of the machine. The figure is the median of the ratios of neighbours: answers a second with the flood to those without.
"""

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from serve_app.api.schemas.base import HEALTHY as WINDOW
from tests.serve.service import Service

DETECT, LOG_IN = "/api/diagnostics/anomaly/detect/", "/api/auth/login/"
JSON = {"content-type": "application/json"}
# Who asks for verdicts, and who floods, each as fast as answers come. Source: own choice; more than a person at a
# browser could open, and fewer than a machine.
CALLERS, FLOODERS = 4, 32
# Of each round. Source: own choice; a flood that a limit of a minute ends must be seen from its beginning.
SECONDS, ROUNDS = 8.0, 4
LEAST = 0.9  # a flood may take a tenth
HEALTHY = {name: values * 12 for name, values in WINDOW.items()}


@dataclass
class Callers:
    """Threads that send one request after another, each on a connection of its own.

    Attributes:
        answers: How many came, by status; 0 is a connection that broke.
    """

    url: str
    path: str
    headers: Mapping[str, str]
    many: int
    answers: Counter[int] = field(default_factory=Counter)

    def run(self, seconds: float) -> None:
        """Send for so long."""
        ends = time.monotonic() + seconds
        threads = [threading.Thread(target=self._send, args=(number, ends)) for number in range(self.many)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, number: int, ends: float) -> None:
        where, sent = urlsplit(self.url), 0
        line = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        while time.monotonic() < ends:
            sent += 1
            try:
                line.request("POST", self.path, self._body(f"{number} {sent}"), dict(self.headers))
                reply = line.getresponse()
                reply.read()
                self.answers[reply.status] += 1
            except (OSError, http.client.HTTPException):
                self.answers[0] += 1
                line.close()

    def _body(self, name: str) -> bytes:
        if self.path == LOG_IN:
            return json.dumps({"username": f"invented {name}", "password": name}).encode()
        moved = {channel: [value + hash(name) % 100 / 1000 for value in values] for channel, values in HEALTHY.items()}
        return json.dumps({"system_id": 1, "sensor_data": moved}).encode()


@contextmanager
def flood(url: str, seconds: float) -> Iterator[None]:
    """Flood a service from another process, as long as the block lasts at most."""
    command = [sys.executable, "-m", "benchmarks.log_ins", "--flood", url, "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        yield
        process.terminate()


def measure(url: str, headers: Mapping[str, str], rounds: int = ROUNDS, seconds: float = SECONDS) -> list[float]:
    """Return the ratio of each round: verdicts with a flood to verdicts without."""
    ratios = []
    for number in range(rounds):
        found = {}
        for is_flooded in (number % 2 == 0, number % 2 == 1):  # none is always the first
            callers = Callers(url, DETECT, {**JSON, **headers}, CALLERS)
            if is_flooded:
                with flood(url, 2 * seconds + 60):
                    callers.run(seconds)
            else:
                callers.run(seconds)
            assert set(callers.answers) == {200}, callers.answers
            found[is_flooded] = callers.answers[200]
        ratios.append(found[True] / found[False])
        print(f"verdicts in {seconds:g} s: {found[False]} without, {found[True]} with a flood, {ratios[-1]:.3f}")
    return ratios


def main() -> None:
    """Measure, or flood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flood", metavar="URL")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    if given.flood:
        print("begins", flush=True)
        Callers(given.flood, LOG_IN, JSON, FLOODERS).run(given.seconds)
        return
    with TemporaryDirectory() as folder:
        service = Service(Path(folder)).start()
        try:
            with service.client() as client:
                headers = {"authorization": client.headers["authorization"]}
            ratios = measure(service.base, headers, given.rounds, given.seconds)
        finally:
            service.stop()
    print(f"median ratio {median(ratios):.3f}, at least {LEAST}: {'ok' if median(ratios) >= LEAST else 'MISSED'}")


if __name__ == "__main__":
    main()
