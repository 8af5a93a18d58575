"""Files of readings that come as the body of a request: unpacked, told by their type, read in a thread, few at a time.

Readers say what is wrong in the words of the command line; here it is said in those of the API.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, StringConstraints

from configs.settings import Limits
from pipelines.errors import InvalidInput, MalformedBody, OverLimit
from serve_app.acquisition import GZIP, unpacked
from serve_app.api.middleware.request import CSV_TYPE, PACKED, PARQUET_TYPE, XLS_TYPE, XLSX_TYPE, media_type
from serve_app.api.schemas.base import storable
from serve_app.shared.turns import Turns

# Files that one process reads at once, of all tenants and of one, how long a request waits for its turn, and how long
# for its file: together less than the minute after which the server answers 408. Source: own choice; 16 MB of CSV of
# nine columns take 8 s of a core and 0.2 GB, two thousand columns up to a minute, and detect must have the others.
AT_ONCE, OF_TENANT, WAIT_S, READ_S = 2, 1, 15.0, 35.0
COLUMNS_MAX = 64
# What a body of each type begins with, where anything is certain; a text begins as none of them.
PARQUET, ZIP, COMPOUND = b"PAR1", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
BEGINNING = {PARQUET_TYPE: (PARQUET,), XLSX_TYPE: (ZIP, COMPOUND), XLS_TYPE: (ZIP, COMPOUND)}
# What a field is called where it is a query parameter or the body.
FIELDS = {"channel": "column", "data": "file"}
OPTION = re.compile(r"--channel (\w+)='([^']*)'")

Found = TypeVar("Found")

Column = Annotated[str, StringConstraints(max_length=300), AfterValidator(storable)]
Columns = Annotated[
    list[Column] | None, Query(max_length=COLUMNS_MAX, description="What a column is: pressure=PT101 [bar]")
]
# A plus that is not escaped, as in `?zone=+03:00`, arrives as a blank.
Zone = Annotated[
    str | None,
    Query(max_length=64, description="Of moments that name none, as Europe/Berlin"),
    AfterValidator(lambda text: text and storable("+" + text[1:] if text[0] == " " else text)),
]
Machine = Annotated[
    str,
    Query(max_length=200, description="Whose readings count, where a file has several machines"),
    AfterValidator(storable),
]


class FileReader:
    """Reads files for requests, a few at a time: whoever waits too long is told to come again."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._turns = Turns(AT_ONCE, OF_TENANT)

    async def body(self, request: Request) -> bytes:
        """Return the file in a request's body, without its packing.

        Raises:
            MalformedBody: It is not what its headers say.
            TooLarge: It unpacks to more than a body may have.
        """
        kind = media_type(request.headers.get("content-type", ""))
        packing = request.headers.get("content-encoding", "").strip().lower()
        content = await request.body()
        if packing in PACKED or content[:2] == GZIP:
            content = await asyncio.to_thread(unpacked, content, self.limits.readings_bytes)
        check_beginning(content, kind)
        return content

    async def run(self, tenant_id: int, work: Callable[..., Found], *given: Any) -> Found:
        """Read in a thread, in turn; one tenant's files leave a turn to those of others.

        Raises:
            Overloaded: Others are read for too long.
            OverLimit: It takes too long.
            InvalidInput: As the work raises it.
        """
        place = await self._turns.taken(tenant_id, WAIT_S)
        # A thread cannot be ended: its turn is over when it is, and not when nobody waits for it any more.
        reading = asyncio.ensure_future(_read_in(place, work, given))
        reading.add_done_callback(_heard)
        try:
            async with asyncio.timeout(READ_S):
                return await asyncio.shield(reading)
        except TimeoutError:
            rule = f"must be read within {READ_S:g} s: cut the file into parts"
            raise OverLimit("file", "body", rule) from None


async def _read_in(place: AsyncExitStack, work: Callable[..., Found], given: tuple[Any, ...]) -> Found:
    async with place:
        return await asyncio.to_thread(_read, work, given)


def _heard(reading: "asyncio.Future[Any]") -> None:
    if not reading.cancelled():
        reading.exception()  # whoever waited has it; where nobody does, it is not told twice


def _read(work: Callable[..., Found], given: tuple[Any, ...]) -> Found:
    with words_of_the_api():
        return work(*given)


def check_beginning(content: bytes, kind: str) -> None:
    """Check that a body begins as one of its type does.

    Raises:
        MalformedBody: It is another one.
    """
    if not content.startswith(BEGINNING.get(kind, b"")) or (
        kind == CSV_TYPE and content.startswith((PARQUET, ZIP, COMPOUND))
    ):
        raise MalformedBody(f"must be {kind}, as content-type says")


@contextmanager
def words_of_the_api() -> Iterator[None]:
    """Say what readers refuse by the names of the query's parameters."""
    try:
        yield
    except InvalidInput as error:
        field = FIELDS.get(error.field, error.field)
        raise type(error)(field, error.value, in_words_of_the_api(error.rule)) from None


def in_words_of_the_api(text: str) -> str:
    """Return what a reader says with the names of the query's parameters in place of options."""
    plain = OPTION.sub(r"?column=\1=\2", text)
    return plain.replace("--channel ", "?column=").replace("--channel", "?column=")


async def file_reader(request: Request) -> FileReader:
    """Return this application's reader."""
    reader: FileReader = request.app.state.files
    return reader


Files = Annotated[FileReader, Depends(file_reader)]
