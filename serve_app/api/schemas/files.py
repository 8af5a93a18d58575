"""Bodies that are files of readings, and what is said of how one was read."""

from typing import Any

from pydantic import Field

from serve_app.api.middleware.request import BINARY_TYPE, CSV_TYPE, PARQUET_TYPE, XLS_TYPE, XLSX_TYPE
from serve_app.api.schemas.base import Reply
from serve_app.api.schemas.families import NewFamilyBody
from serve_app.api.schemas.life import BaselineReply

EXAMPLE = "time,pressure [bar],temperature [degC]\n2026-11-02T06:00:00Z,101.2,45.3\n2026-11-02T06:00:01Z,101.4,45.3\n"
FILES: dict[str, Any] = {
    CSV_TYPE: {
        "schema": {"type": "string", "description": "A file as loggers write it: docs/files.md"},
        "example": EXAMPLE,
    },
    XLSX_TYPE: {"schema": {"type": "string", "format": "binary", "description": "The largest sheet counts"}},
    XLS_TYPE: {"schema": {"type": "string", "format": "binary"}},
    PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
    BINARY_TYPE: {"schema": {"type": "string", "format": "binary", "description": "Any of them, told by its content"}},
}
BODY: dict[str, Any] = {"required": True, "content": FILES}


class ColumnReply(Reply):
    """What one column was read as."""

    header: str
    role: str = Field(description="time, machine, tag, value, quality, unit, channel, counter or text")
    quantity: str | None
    unit: str | None
    asked: str = Field(description="What has to be said by `?column=`; empty where nothing has")
    values: int
    least: float | None
    greatest: float | None


class OmissionReply(Reply):
    """Rows or cells that were left out for one reason."""

    what: str
    count: int
    reason: str
    first: str = Field(description="The first of them, with its line")


class ReportReply(Reply):
    """How a file was read."""

    name: str
    kind: str = Field(description="text, workbook or parquet")
    encoding: str
    delimiter: str
    decimal: str
    header_row: int = Field(description="Its line, from 1; 0 where there is none")
    layout: str = Field(description="wide, one column a channel, or long, one tag a row")
    time: str = Field(description="Column, format, zone and span in words; empty where there is no time")
    rows_read: int
    moments: int
    machines: list[str]
    columns: list[ColumnReply]
    left_out: list[OmissionReply]
    notes: list[str] = Field(description="What was assumed or mended")


class ProposalReply(Reply):
    """A machine kind that a file shows; nothing of it is kept."""

    definition: NewFamilyBody = Field(description="As `POST /api/families/` takes it")
    asked: list[str] = Field(description="Columns that are left out until `?column=` says what they are")
    notes: list[str] = Field(description="Which column is which channel and why, and what is odd about it")
    report: ReportReply


class TaughtReply(Reply):
    """What was read from a file, and what is normal for the system now."""

    dry_run: bool = Field(description="Whether nothing was learned")
    windows_read: int = Field(description="Windows of the family's length that the file holds, 400 at most")
    read: list[str] = Field(description="How the file was read, as which channels, and what was left out")
    baseline: BaselineReply
