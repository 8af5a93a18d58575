"""`hdx backup` and `hdx restore`: all that a service keeps, copied while it works, and put back into an empty home."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr

from configs.settings import read_settings
from pipelines.errors import InvalidInput
from serve_app.cli.progress import tell

if TYPE_CHECKING:
    from serve_app.backups.manifest import Manifest

app = typer.Typer()
OLD_SECRET = "HDX_OLD_SECRET_KEY"  # noqa: S105  (its name)


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
        bool, typer.Option("--other-secret", help=f"The backup's secret is another: {OLD_SECRET}, or it is asked for.")
    ] = False,
    key: Annotated[
        str, typer.Option("--key", help="The other secret is lost: what `hdx audit key` printed then, kept elsewhere.")
    ] = "",
) -> None:
    """Put a backup into an empty home, HDX_HOME, and empty databases; looks at every byte of it first."""
    from serve_app.backups.restoring import Proof, examine, restore

    _prepare()
    proof = Proof(_old_secret(other_secret), key.strip())
    settings, begun = read_settings(), time.monotonic()
    if check:
        manifest = examine(settings, source, proof)
        tell(f"{source} is whole: of {manifest.made_at}, HDX {manifest.hdx}, tables of revision {manifest.db_schema}.")
    else:
        manifest = restore(settings, source, tell, proof)
        tell(f"Restored {source}, of {manifest.made_at}, in {time.monotonic() - begun:.1f} s. `hdx run` starts it.")
    _tell_limits(manifest)
    if not manifest.is_of(settings):
        tell("HDX_SECRET_KEY is another one than that of the backup; with it")
        tell("  sessions end: people log in anew, with their passwords; API keys hold")
        tell(f"""  models of before hold by HDX_MODELS__SIGNERS='["{manifest.models_key}"]'""")
        tell(f"  the audit of before is verified by `hdx audit verify --key '{manifest.audit_key}'`")


def _old_secret(is_other: bool) -> SecretStr:
    """Return the secret of before, which stands in no command line, and in the environment of no process to start.

    Raises:
        InvalidInput: It is empty.
    """
    given = os.environ.pop(OLD_SECRET, "")
    if not is_other:
        return SecretStr("")
    if not given and sys.stdin.isatty():
        given = typer.prompt("HDX_SECRET_KEY of the backup", hide_input=True)
    if not given:
        raise InvalidInput(OLD_SECRET, "", "must hold the HDX_SECRET_KEY of the backup; where that is lost, give --key")
    return SecretStr(given)


def _prepare() -> None:
    """Let others read nothing of what is made, and let nothing be left running or half when told to end."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _tell_limits(manifest: "Manifest") -> None:
    for words in manifest.left_out:
        tell(f"Not in it: {words}.")
    for name in manifest.lost:
        tell(f"Lost before: {name} is named by the tables, and was not there.")
