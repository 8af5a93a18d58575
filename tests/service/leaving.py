"""In service tests: requests whose callers leave at a chosen moment, on the application over real PostgreSQL."""

import asyncio
from collections.abc import Coroutine, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.types import Message


class Leaving:
    """Work that is cancelled at its nth wait, as a server does when its caller hangs up.

    Attributes:
        waits: How often it has waited by now.
    """

    def __init__(self, work: Coroutine[Any, Any, object], at: int) -> None:
        self._work, self._at, self.waits = work, at, 0

    def __await__(self) -> Generator[Any, Any, None]:
        error: BaseException | None = None
        while True:
            try:
                waited = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration:
                return
            error = None
            if self.waits == self._at:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            self.waits += 1
            try:
                yield waited
            except BaseException as thrown:
                error = thrown


@dataclass
class Exchange:
    """A request, and what was answered by the time its caller left."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 0
    answer: bytes = b""

    async def send(self, app: FastAPI, at: int = -1) -> bool:
        """Send it; leave at the nth wait of the application, and tell whether it came to that."""
        before = asyncio.all_tasks()
        path, _, query = self.path.partition("?")
        scope = {
            "type": "http",
            "method": self.method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in self.headers.items()],
            "client": ("127.0.0.1", 1),
        }
        leaving = Leaving(app(scope, self._receiving(), self._replied), at)
        sent = asyncio.ensure_future(_awaited(leaving))
        with suppress(asyncio.CancelledError):
            await sent
        while others := asyncio.all_tasks() - before:  # what goes on without its caller
            await asyncio.wait(others)
        return 0 <= at < leaving.waits

    def _receiving(self) -> Any:
        waiting = [self.body]

        async def receive() -> Message:
            if not waiting:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}

        return receive

    async def _replied(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.answer += message.get("body", b"")


async def _awaited(leaving: Leaving) -> None:
    await leaving
