"""`hdx run` and what goes with a running service: reload, dashboard, status, logs, doctor."""

from typing import Annotated

import typer

from configs.settings import ENV_FILE, read_settings
from pipelines.errors import Unavailable
from serve_app.cli.progress import console

app = typer.Typer()


@app.command()
def run() -> None:
    """Start everything on this machine and stay in the foreground; Ctrl-C stops it."""
    from serve_app.local.bootstrap import make_env
    from serve_app.local.bootstrap import run as bring_up

    if make_env(ENV_FILE):
        console.print(f"  [green]ok[/green] wrote {ENV_FILE} with fresh secrets")
    try:
        bring_up(read_settings(), console)
    except KeyboardInterrupt:
        console.print("\nStopped.")


@app.command()
def reload() -> None:
    """Load edited code: replace every replica while the service runs."""
    import time

    from serve_app.local.bootstrap import deploy
    from serve_app.local.cluster import read_config
    from serve_app.local.terminal import Steps

    settings = read_settings()
    config = read_config(settings)
    config["applications"][0]["args"]["revision"] = str(time.time_ns())
    deploy(settings, Steps(console), config)


@app.command()
def dashboard(
    browser: Annotated[bool, typer.Option(help="Open it; else the link is printed only.")] = True,
) -> None:
    """Open the Ray dashboard, logged in: the link opens once, within two minutes."""
    import webbrowser

    from serve_app.local.dashboard import Door

    with Door(read_settings()) as door:
        console.print(door.url, soft_wrap=True)
        if browser:
            webbrowser.open(door.url)
        if not door.wait():
            raise Unavailable("dashboard", "nobody opened the link: ask for another")


@app.command()
def status() -> None:
    """List services and deployments, and whether each is up."""
    from serve_app.local.doctor import status_table

    console.print(status_table(read_settings()))


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="gateway, mlflow, ray, or a deployment; all when left out.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing what is added.")] = False,
) -> None:
    """Print the logs of all services or of one."""
    from serve_app.local.doctor import print_logs

    print_logs(read_settings(), service, follow)


@app.command()
def doctor() -> None:
    """Say what is wrong with this installation, and what to do about it."""
    from serve_app.local.doctor import examine

    findings = examine(read_settings())
    for finding in findings:
        mark = "[green]ok  [/green]" if finding.fine else "[red]fail[/red]"
        console.print(f"{mark} {finding.part}: {finding.words}")
    raise typer.Exit(not all(finding.fine for finding in findings))
