"""What `hdx answer --feedback` prints: what people said of the answers that a tenant was given."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from serve_app.answer_report import VERDICTS, report_of
from serve_app.cli.progress import tell
from serve_app.cli.users import with_store

if TYPE_CHECKING:
    from serve_app.store.records_answers import SpokenOf
    from serve_app.store.repository import Store

# Words that are read, and questions that are printed; `--json` has all that were read. Source: own choices, seconds of
# the server's time, and what is read through at one sitting.
READ_MAX, SHOWN_MAX = 10_000, 100


def print_feedback(tenant: str, days: int, as_json: bool) -> None:
    """Print what people said in so many days, as text or as one JSON object.

    Raises:
        NotFound: There is no such tenant.
    """
    since = datetime.now(UTC) - timedelta(days=days)

    async def read(store: "Store") -> "list[SpokenOf]":
        return await store.answers.spoken_of(await store.tenants.get(tenant), since, READ_MAX)

    report = report_of(with_store(read))
    if as_json:
        print(json.dumps(report, indent=1))
        return
    for line in lines_of(report):
        tell("".join(sign if sign.isprintable() else " " for sign in line))


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """Return a report as lines of text; what people wrote may hold any sign."""
    if not report["words"]:
        return ["Nothing was said of any answer."]
    lines = [f"{report['words']} words on answers; {_counts(report)}", "", "By document, the least helpful first:"]
    lines += [f"  {_counts(row)}  {row['title']} {row['document_id']}".rstrip() for row in report["documents"]]
    questions = report["questions"]
    lines += ["", "Not helped, the newest first:"] if questions else []
    for each in questions[:SHOWN_MAX]:
        lines.append(f"  {each['verdict']}: {each['question']}")
        lines += [f"    cited: {place['title']}, page {place['page']}" for place in each["cited"]]
        lines += ["    cited: nothing"] * (not each["cited"])
        lines += [f"    {each['actor']}: {each['comment']}"] * bool(each["comment"])
    rest = len(questions) - SHOWN_MAX
    return lines + [f"  and {rest} more: see --json"] * (rest > 0)


def _counts(counted: Mapping[str, Any]) -> str:
    told = ", ".join(f"{verdict} {counted[verdict]}" for verdict in VERDICTS)
    return f"{told}; {counted['helped_share']:.0%} helped"
