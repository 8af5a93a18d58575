"""`hdx audit`: who did what, to a tenant's things or to the models that all tenants share, and what proves it."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from configs.settings import Settings, read_settings
from pipelines.errors import InvalidInput
from serve_app.cli.progress import console, tell
from serve_app.cli.users import with_store
from serve_app.store.records import Note, written

if TYPE_CHECKING:
    from serve_app.evidence import Verified
    from serve_app.shared.checkpoints import Verifier
    from serve_app.store.checkpoint_files import CheckpointFiles
    from serve_app.store.repository import Store

app = typer.Typer(help="Who did what: prints the audit, verifies it, and exports it with what proves it.")
KeysOption = Annotated[
    list[str] | None,
    typer.Option("--key", help="Public key that signed, as `hdx audit key` prints it; repeat it for those before."),
]


@app.callback(invoke_without_command=True)
def audit(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="Whose deeds.")] = "demo",
    platform: Annotated[bool, typer.Option("--platform", help="What was done to models, by the gates too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest notes to print.")] = 100,
) -> None:
    """Print the audit, the newest note first."""
    if context.invoked_subcommand is not None:
        return

    async def read(store: "Store") -> list[Note]:
        return await store.audit.newest(None if platform else await store.tenants.get(tenant), limit)

    table = Table("when", "who", "did", "to", "detail", box=None)
    for note in with_store(read):
        table.add_row(f"{note.created_at:%Y-%m-%d %H:%M:%S}", note.actor, note.action, note.subject, note.detail)
    console.print(table)


@app.command()
def key() -> None:
    """Print the public key that checkpoints are verified with; keep it where the service cannot change it."""
    print(_public_key(read_settings()))


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="What `hdx audit export` wrote; else the database.")] = None,
    keys: KeysOption = None,
    without_files: Annotated[
        bool, typer.Option("--without-files", help="Go on where checkpoints of the database are in no file here.")
    ] = False,
) -> None:
    """Find any note that was changed, removed, added or moved, by the database's owner too: exit code 1."""
    from serve_app.shared.checkpoints import Verifier

    settings = read_settings()
    if file is not None:
        # Whoever exported may have another key than this machine, and whoever verifies names whom to believe.
        found = _verify_file(file, Verifier(keys or [_public_key(settings)]))
    else:
        found = _verify_database(settings, Verifier([_public_key(settings), *(keys or ())]), not without_files)
    if any(each.finding for each in found):
        tell("The audit does not hold.")
        raise typer.Exit(1)
    tell("The audit holds." if found else "There is no note yet.")


def _verify_file(file: Path, verifier: "Verifier") -> "list[Verified]":
    from serve_app.evidence import verify_file

    try:
        with file.open("rb") as lines:
            return [_told(each) for each in verify_file(lines, verifier)]
    except OSError as error:
        raise InvalidInput("file", file, f"cannot be read: {error.strerror}") from None


def _verify_database(settings: Settings, verifier: "Verifier", files_kept: bool) -> "list[Verified]":
    from serve_app.evidence import verify as verify_trees

    files = _files(settings)
    if not files_kept:
        tell(f"Files in {settings.home} may lack checkpoints: what was removed from the end cannot be told.")

    async def check(store: "Store") -> "list[Verified]":
        return [_told(each) async for each in verify_trees(store.seals, files, verifier, files_kept=files_kept)]

    return with_store(check)


def _told(found: "Verified") -> "Verified":
    """Tell what was found of a tree, and return it."""
    name = "platform" if found.tenant_id is None else f"tenant {found.tenant_id}"
    said, newest, unsealed = f"{found.notes} notes, {found.checkpoints} checkpoints", found.newest, found.unsealed
    said += f", {found.dropped} notes before them dropped" if found.dropped else ""
    if newest is not None:
        said += f"; {newest.size} signed at {written(datetime.fromtimestamp(newest.time, UTC))}"
    if unsealed.oldest is not None:
        said += f"; {unsealed.notes} not sealed yet, since {written(unsealed.oldest)}"
    tell(f"{name}: {said}")
    if found.finding:
        tell(f"{name}: {found.finding}")
    return found


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="JSON lines; made, and never written over.")],
    tenant: Annotated[str, typer.Option(help="Whose; all tenants' and the platform's when left out.")] = "",
) -> None:
    """Write the audit with its checkpoints, for `hdx audit verify FILE --key KEY` on any machine."""
    from serve_app.evidence import line_of, tree
    from serve_app.shared.checkpoints import Verifier

    settings = read_settings()
    files, verifier = _files(settings), Verifier([_public_key(settings)])
    try:
        out = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise InvalidInput("file", file, f"cannot be made: {error.strerror}") from None

    async def write(store: "Store") -> int:
        wanted: Sequence[int | None] = [await store.tenants.get(tenant)] if tenant else await store.seals.tenants()
        lines = 0
        for tenant_id in wanted:
            async for item in tree(store.seals, files, verifier, tenant_id):
                lines += 1
                out.write(line_of(item) + b"\n")
        return lines

    with out:
        lines = with_store(write)
    tell(f"Wrote {lines} lines to {file}; they are verified with the key that `hdx audit key` prints.")


def _public_key(settings: Settings) -> str:
    from serve_app.sealing import signer_of

    return signer_of(settings).public_key


def _files(settings: Settings) -> "CheckpointFiles":
    from serve_app.sealing import FOLDER
    from serve_app.store.checkpoint_files import CheckpointFiles

    return CheckpointFiles(settings.home / FOLDER)
