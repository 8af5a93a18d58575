"""`hdx backup` and `hdx restore`: all that a service keeps, copied while it works, and put back into an empty home."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.settings import read_settings
from serve_app.cli.progress import tell

if TYPE_CHECKING:
    from serve_app.backups.manifest import Manifest

app = typer.Typer()


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="Folder to be made; elsewhere than in HDX_HOME.")],
) -> None:
    """Copy database, knowledge, models, archive and signed audit into a folder, while the service works or not."""
    from serve_app.backups.making import make

    _prepare()
    begun = time.monotonic()
    manifest = make(read_settings(), target, tell)
    size = sum(held.size for held in manifest.files.values())
    tell(f"Wrote {target}: {len(manifest.files)} files, {size / 1e6:.1f} MB, in {time.monotonic() - begun:.1f} s.")
    _tell_limits(manifest)
    tell("It holds no secret: keep .env elsewhere, without which signatures and log-ins of before do not hold.")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="Folder that `hdx backup` has written.")],
    check: Annotated[bool, typer.Option("--check", help="Only look at every byte of it.")] = False,
    other_secret: Annotated[
        bool, typer.Option("--other-secret", help="Go on where HDX_SECRET_KEY is another than that of the backup.")
    ] = False,
) -> None:
    """Put a backup into an empty home, HDX_HOME, and empty databases; looks at every byte of it first."""
    from serve_app.backups.restoring import examine, restore

    _prepare()
    settings, begun = read_settings(), time.monotonic()
    if check:
        manifest = examine(settings, source, other_secret=other_secret)
        tell(f"{source} is whole: of {manifest.made_at}, HDX {manifest.hdx}, tables of revision {manifest.db_schema}.")
    else:
        manifest = restore(settings, source, tell, other_secret=other_secret)
        tell(f"Restored {source}, of {manifest.made_at}, in {time.monotonic() - begun:.1f} s. `hdx run` starts it.")
    _tell_limits(manifest)
    if not manifest.is_of(settings):
        tell("HDX_SECRET_KEY is another one than that of the backup; with it")
        tell("  sessions end: people log in anew, with their passwords; API keys hold")
        tell(f"""  models of before hold by HDX_MODELS__SIGNERS='["{manifest.models_key}"]'""")
        tell(f"  the audit of before is verified by `hdx audit verify --key '{manifest.audit_key}'`")


def _prepare() -> None:
    """Let others read nothing of what is made, and let nothing be left running or half when told to end."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _tell_limits(manifest: "Manifest") -> None:
    for words in manifest.left_out:
        tell(f"Not in it: {words}.")
    for name in manifest.lost:
        tell(f"Lost before: {name} is named by the tables, and was not there.")
