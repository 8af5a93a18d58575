"""The console that commands print on, and the bar that shows how far their work is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Step = Callable[[str, int, int], None]

# Columns where no terminal says how many: what is piped on is not broken. Source: own choice, the widest table fits.
WIDE = 200
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def tell(line: str) -> None:
    """Print a line as it stands, whatever its brackets would mean to a terminal."""
    console.print(line, markup=False, soft_wrap=True)


@contextmanager
def bar() -> Iterator[Step]:
    """Show a bar; yield what moves it: a title, how much is done, and of how much."""
    columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("read", total=None)

        def step(title: str, done: int, total: int) -> None:
            progress.update(task, description=title, completed=done, total=total)

        yield step
