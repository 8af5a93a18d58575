"""The entry point of `hdx`: gathers the commands, and turns an error of ours into one line and exit code 1."""

import sys
from typing import Annotated

import typer
from pydantic import ValidationError

from configs.settings import version
from pipelines.errors import HdxError
from serve_app.cli import (
    audit,
    backup,
    commission,
    drift,
    evaluate,
    family,
    keys,
    knowledge,
    models,
    readings,
    run,
    score,
    system,
    tenants,
    train,
    users,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Hydraulic diagnostics served on Ray.")
for noun in (run, train, evaluate, models, score, drift, commission, readings, knowledge, backup):
    app.add_typer(noun.app)
app.add_typer(audit.app, name="audit")
app.add_typer(family.app, name="family")
app.add_typer(keys.app, name="keys")
app.add_typer(system.app, name="system")
app.add_typer(tenants.app, name="tenant")
app.add_typer(users.app, name="user")


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 1."""
    try:
        app()
    except HdxError as error:
        sys.exit(f"hdx: {error}")
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            print(f"hdx: {'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}", file=sys.stderr)
        sys.exit(1)
    except ValueError as error:
        sys.exit(f"hdx: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"hdx {version()}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print and exit.")] = False,
) -> None:
    """Hydraulic diagnostics served on Ray."""
