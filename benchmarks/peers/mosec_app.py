"""The job on mosec: a Rust front that gathers requests, a typed decoder, two workers.

Exists to be compared with; its best setting of those tried on two cores.
"""

import sys
from typing import Any

import msgspec
from mosec import Server, Worker

from benchmarks.peers.job import BATCH, Job


class Window(msgspec.Struct):
    """One window's body."""

    sensor_data: dict[str, Any]


class Body(msgspec.Struct):
    """One window or many."""

    sensor_data: dict[str, Any] | None = None
    items: list[Window] | None = None


class Judge(Worker):
    """Judges all windows of the requests that were gathered in one pass."""

    def __init__(self) -> None:
        super().__init__()
        self._job = Job()
        self._decoder = msgspec.json.Decoder(Body)

    def deserialize(self, data: bytes) -> Body:
        """Decode a body."""
        return self._decoder.decode(data)

    def serialize(self, data: Any) -> bytes:
        """Encode an answer."""
        return msgspec.json.encode(data)

    def forward(self, data: list[Body]) -> list[Any]:
        """Answer each request at its own place."""
        parts = [[body.sensor_data] if body.items is None else [w.sensor_data for w in body.items] for body in data]
        found = iter(self._job.answer([window or {} for part in parts for window in part]))
        answers = [[next(found) for _ in part] for part in parts]
        return [a[0] if body.items is None else {"results": a} for body, a in zip(data, answers, strict=True)]


if __name__ == "__main__":
    port = sys.argv.pop(1)
    sys.argv += ["--address", "127.0.0.1", "--port", port, "--max-body-size", "10000000", "--timeout", "60000"]
    server = Server()
    server.append_worker(Judge, num=2, max_batch_size=BATCH // 2, max_wait_time=1)
    server.run()
