"""What `hdx run` shows on the terminal: a bar while a step lasts, and one screen when all are done."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from configs.settings import Settings
from serve_app.local.demo import Login

JSON = "-H 'content-type: application/json'"
WINDOW = {
    "pressure": [100.5, 101.2, 99.8, 100.1, 100.3],
    "temperature": [45.3, 45.1, 45.5, 45.2, 45.4],
    "flow": [25.0, 24.8, 25.2, 25.1, 24.9],
    "vibration": [0.5, 0.6, 0.5, 0.5, 0.6],
}


# Source: `du` after a first start; proportional memory (PSS) at rest of all processes, Ray and MLflow included.
FIRST_DISK_MB = 75
MEMORY_MB = 3_900


class Steps:
    """One line a step on the terminal, with a bar while it lasts."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator["Bar"]:
        """Show a bar until the step is done, then one line with its time."""
        begun = time.monotonic()
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield Bar(progress, progress.add_task(title, total=total))
        self.console.print(f"  [green]ok[/green] {title} [dim]{time.monotonic() - begun:.1f} s[/dim]")


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar of one step."""

    progress: Progress
    task: TaskID

    def reach(self, done: int, total: int) -> None:
        """Move the bar."""
        self.progress.update(self.task, completed=done, total=total)


def lost_password(username: str) -> str:
    """Return the command that sets a new password."""
    return f"hdx user password {username}"


def first_start(settings: Settings) -> str:
    """Return what a first start costs, before it begins."""
    cost = (
        f"a few minutes on two cores, {FIRST_DISK_MB} MB in {settings.home}, then {MEMORY_MB / 1000:.1f} GB of memory"
    )
    return f"  A first start trains the detectors and indexes the knowledge: {cost}."


def screen(settings: Settings, login: Login) -> str:
    """Return the one screen that a newcomer needs."""
    base = f"http://{settings.host}:{settings.port}"
    known = (
        f"{login.password}   (printed this once)"
        if login.password
        else f"its password; lost: {lost_password(login.username)}"
    )
    password = login.password or "PASSWORD"
    body = json.dumps({"username": login.username, "password": password})
    take = """python3 -c 'import json, sys; print(json.load(sys.stdin)["access"])'"""
    placement = settings.graph.placement
    advice = "   (HDX_GRAPH__PLACEMENT=packed answers more on few cores)" if placement == "spread" else ""
    window = json.dumps({"system_id": 1, "sensor_data": WINDOW})
    return f"""
HDX is ready.

  API and its documentation   {base}/docs
  Health                      {base}/health/
  Ray dashboard               hdx dashboard
  MLflow                      {settings.tracking_url}   (as {settings.mlflow_username}, HDX_MLFLOW_PASSWORD of .env)
  Log-in                      {login.username} / {known}
  State                       {settings.home}
  Detectors                   {placement}{advice}

Paste into another terminal:

  TOKEN=$(curl -s {base}/api/auth/login/ {JSON} -d '{body}' | {take})
  curl -s {base}/api/diagnostics/anomaly/detect/ -H "Authorization: Bearer $TOKEN" {JSON} -d '{window}'

Ctrl-C stops everything that was started here.
"""
