"""Does jobs: a file of readings is read in a process of its own, and kept in pieces, a few at a time.

What has been read waits in the database, so that a worker that dies has the rest done by another. After a few pieces
others have their turn. A fault of the file ends its job; a fault of a part of the service is tried again.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson

import serve_app
from configs.settings import Limits
from pipelines.errors import InvalidInput, MalformedBody, NotFound, TooLarge, UnknownFamily, reason_of
from serve_app.families import Families
from serve_app.shared import logs
from serve_app.store.jobs import Superseded, advance
from serve_app.store.pieces import LENGTH, Piece
from serve_app.store.records import Stored
from serve_app.store.records_jobs import Job, JobTask
from serve_app.store.repository import Store

# Seconds of pieces after which others have their turn, and between two looks whether a job is still wanted. Source:
# own choices.
TURN_S, LOOK_S = 2.0, 1.0
# Attempts since a job came further last, and the pause after the first, doubled each time. Source: own choice; five
# minutes in all, in which a part that is replaced is back.
ATTEMPTS, PAUSE_S = 6, 10.0
# Seconds of the processor, and by the clock, in which a file is read: first in the queue of all, where it holds others
# up for no longer, then in that of long files. Source: measured, a megabyte of CSV takes half a second.
QUICK, LONG = (8, 24), (600, 1800)
QUICK_MEMORY = 5 * 2**29  # bytes, of the first; source: own choice, twice what the libraries take themselves
# What the fault of a file is, which no further attempt mends.
OF_FILE = (InvalidInput, MalformedBody, TooLarge, NotFound, UnknownFamily)
ROOT = Path(serve_app.__file__).parents[1]


class BeyondBounds(Exception):
    """A file takes more time or memory to read than it may."""


class _Read(NamedTuple):
    """What was read of a file, in numbers."""

    pieces: int
    values: int
    empty: int
    left_out: int
    notes: list[str]


class Jobs:
    """Does the jobs of all tenants, each in bounded turns."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store, self._limits, self._families = store, limits, Families(store)

    async def look_after(self) -> None:
        """Have jobs gone on with that nobody was heard of for too long.

        Raises:
            Unavailable: The database does not answer.
        """
        await self._store.jobs.look_after()

    async def work(self, tenant_id: int, job_id: UUID) -> None:
        """Go on with a job for a turn, and have it gone on with where more is to be done.

        Raises:
            Unavailable: The database does not answer; whoever looks after jobs has it begun again.
        """
        job = await self._store.jobs.begin(tenant_id, job_id)
        if job is None:
            return
        try:
            await self._turn(tenant_id, job)
        except Superseded:
            return
        except OF_FILE as error:
            await self._store.jobs.fail(tenant_id, job_id, reason_of(error))
        except asyncio.CancelledError:  # this worker is to stop: the next one goes on
            await self._store.jobs.ask(tenant_id, job_id, job.task)
            raise
        except Exception as error:
            logs.write("job.waits", logging.WARNING, error, job_id=str(job_id), attempt=job.attempts)
            await self._again(tenant_id, job_id, error)

    async def _again(self, tenant_id: int, job_id: UUID, error: Exception) -> None:
        job = await self._store.jobs.get(tenant_id, job_id)
        if job.attempts >= ATTEMPTS:
            reason = f"given up after {job.attempts} attempts: {reason_of(error)}"
            await self._store.jobs.fail(tenant_id, job_id, reason)
        else:
            await self._store.jobs.rest(tenant_id, job_id, PAUSE_S * 2 ** (job.attempts - 1))

    async def _turn(self, tenant_id: int, job: Job) -> None:
        if job.attempts > ATTEMPTS:
            raise MalformedBody(f"given up after {ATTEMPTS} attempts, with the last of which its worker ended")
        task = await (self._read(tenant_id, job) if job.total is None else self._keep(tenant_id, job))
        if task is not None:
            await self._store.jobs.ask(tenant_id, job.job_id, task)

    # --- what was read becomes readings

    async def _keep(self, tenant_id: int, job: Job) -> JobTask | None:
        """Keep pieces for a turn; return where more of them wait."""
        until = time.monotonic() + TURN_S
        while job.piece < job.pieces:
            content = await self._store.jobs.part(tenant_id, job.job_id, "rows", job.piece)
            if content is None:
                raise Superseded
            job = await self._keep_piece(tenant_id, job, Piece.from_bytes(content))
            if time.monotonic() > until and job.piece < job.pieces:
                return "job"
        return None

    async def _keep_piece(self, tenant_id: int, job: Job, piece: Piece) -> Job:
        """Keep one piece, and how far the job is: both or neither; return the job as it is then."""
        values, report = len(piece.rows) + len(piece.suspects), dict(job.report)

        async def also(connection: Any, stored: Stored) -> None:
            report.update({name: job.report[name] + count for name, count in stored._asdict().items()})
            await advance(connection, job, values, report)

        own = tenant_id, job.system_id
        await self._store.readings.add(*own, piece.rows, piece.suspects, job.created_by, also)
        return replace(job, piece=job.piece + 1, done=job.done + values, report=report)

    # --- a file is read

    async def _read(self, tenant_id: int, job: Job) -> JobTask:
        """Read the file of a job into pieces; return where it is gone on with.

        Raises:
            MalformedBody: It is wrong, or takes too much.
        """
        system = await self._store.systems.get(tenant_id, job.system_id)
        family = await self._families.of(tenant_id, system.family)
        known = {"family": system.family, "definition": family.definition, "now": job.created_at.isoformat()}
        memory, is_quick = self._limits.job_memory, job.task == "job"
        seconds, wall_s = QUICK if is_quick else LONG
        try:
            async with _Reader(min(memory, QUICK_MEMORY) if is_quick else memory, seconds) as reader:
                await self._watched(tenant_id, job, self._take(tenant_id, job, reader, known), wall_s)
        except BeyondBounds as error:
            if is_quick:
                return "file"
            rule = f"must be read within {memory} bytes and {LONG[0]} s: cut the file into parts"
            raise MalformedBody(f"{error}, and {rule}" if str(error) else f"file: {rule}") from None
        return "job"

    async def _watched(self, tenant_id: int, job: Job, reading: Coroutine[Any, Any, None], wall_s: float) -> None:
        """Wait until a file is read, as long as its job is wanted.

        Raises:
            Superseded: It is not.
            BeyondBounds: It takes too long.
        """
        task, until = asyncio.ensure_future(reading), time.monotonic() + wall_s
        try:
            while not (await asyncio.wait([task], timeout=LOOK_S))[0]:
                if not await self._store.jobs.beat(tenant_id, job.job_id):
                    raise Superseded
                if time.monotonic() > until:
                    raise BeyondBounds
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _take(self, tenant_id: int, job: Job, reader: "_Reader", known: dict[str, Any]) -> None:
        """Hand a file to its reader, and keep the pieces that come back."""
        await reader.hand(orjson.dumps({**job.given, **known}), self._parts(tenant_id, job))
        head = _Read(**await reader.head())
        for number in range(head.pieces):
            await self._store.jobs.keep_rows(tenant_id, job.job_id, number, await reader.frame())
        counts = dict.fromkeys(Stored._fields, 0)
        report = {**counts, "empty": head.empty, "left_out": head.left_out, "notes": head.notes}
        beside = head.empty + head.left_out
        total = head.values + beside
        await self._store.jobs.was_read(tenant_id, job.job_id, head.pieces, total, beside, report)

    async def _parts(self, tenant_id: int, job: Job) -> AsyncIterator[bytes]:
        number = 0
        while (part := await self._store.jobs.part(tenant_id, job.job_id, "file", number)) is not None:
            yield part
            number += 1


class _Reader:
    """A process that reads one file."""

    def __init__(self, memory: int, seconds: int) -> None:
        self._bounds = memory, seconds

    async def __aenter__(self) -> Self:
        words = [sys.executable, "-m", "serve_app.reading_process", *map(str, self._bounds)]
        # Nothing of what this process knows, as the addresses of databases.
        names = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*words, env=names, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    async def hand(self, head: bytes, parts: AsyncIterator[bytes]) -> None:
        """Write what is known of a file, and the file; it answers when it has all of it."""
        assert self._process.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError, ConnectionResetError):  # it has ended: its frames say why
            self._process.stdin.write(head + b"\n")
            async for part in parts:
                self._process.stdin.write(part)
                await self._process.stdin.drain()
            self._process.stdin.close()

    async def head(self) -> dict[str, Any]:
        """Return what was read, in numbers.

        Raises:
            BeyondBounds: It takes too much to read the file.
            MalformedBody: The file is wrong.
        """
        head: dict[str, Any] = orjson.loads(await self.frame())
        if head.get("error") == "bounds":
            raise BeyondBounds(head["reason"])
        if "error" in head:
            raise MalformedBody(head["reason"])
        return head

    async def frame(self) -> bytes:
        """Return the next frame.

        Raises:
            BeyondBounds: The process was ended by its bounds.
        """
        assert self._process.stdout is not None  # noqa: S101
        try:
            length = int.from_bytes(await self._process.stdout.readexactly(LENGTH), "big")
            return await self._process.stdout.readexactly(length)
        except asyncio.IncompleteReadError:
            if await self._process.wait() < 0:
                raise BeyondBounds from None
            raise
