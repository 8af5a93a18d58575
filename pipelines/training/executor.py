"""Runs the steps of a training, one after the other in this process or side by side in Ray.

The steps know nothing of processes, and a training gives the same bytes however many there are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np

from pipelines.detectors.base import PARTS, FeatureTable
from pipelines.errors import HdxError
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family
from pipelines.signals.features import feature_names
from pipelines.signals.reading import make_feature_table, read_names
from pipelines.signals.summary import term_places
from pipelines.signals.windows import Window
from pipelines.training.local_ray import local_ray

# Windows whose features are computed at once. Source: own choice; some ten milliseconds of work, a few MB.
CHUNK = 512

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Where the steps are done."""

    def tables(self, windows: Sequence[Window], normals: Sequence[Normal | None], family: Family) -> FeatureTable:
        """Compute the features of windows, in their order."""
        ...

    def each(self, step: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]) -> Iterator[Result]:
        """Yield what a step gives for each item, in their order.

        Args:
            step: A function of a module.
            shared: What it needs for every item.
            items: One a step.
        """
        ...


class InlineExecutor:
    """This process."""

    def tables(self, windows: Sequence[Window], normals: Sequence[Normal | None], family: Family) -> FeatureTable:
        """Compute the features of windows, in their order."""
        return make_feature_table(windows, normals, family)

    def each(self, step: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]) -> Iterator[Result]:
        """Yield what a step gives for each item, in their order."""
        return (step(shared, item) for item in items)


class RayExecutor:
    """A Ray that is running: features by Ray Data, steps as its tasks."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def tables(self, windows: Sequence[Window], normals: Sequence[Normal | None], family: Family) -> FeatureTable:
        """Compute the features of windows, in their order."""
        pairs = enumerate(zip(windows, normals, strict=True))
        rows = [{"row": row, "window": window, "normal": normal} for row, (window, normal) in pairs]
        made = self._ray.data.from_items(rows).map_batches(
            _features, fn_kwargs={"family": family}, batch_size=CHUNK, batch_format="pandas"
        )
        found = list(made.iter_batches(batch_size=None, batch_format="numpy"))
        # Blocks come as they are done.
        order = np.argsort(np.concatenate([part["row"] for part in found]))
        parts = {name: np.concatenate([part[name] for part in found])[order] for name in PARTS}
        return FeatureTable(feature_names(family), read_names(family), term_places(family), **parts)

    def each(self, step: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]) -> Iterator[Result]:
        """Yield what a step gives for each item, in their order.

        Raises:
            HdxError: The one that a step raised.
        """
        reference, task = self._ray.put(shared), self._ray.remote(step)
        for running in [task.remote(reference, item) for item in items]:
            try:
                yield self._ray.get(running)
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, HdxError):
                    raise error.cause from None
                raise


def _features(batch: Any, family: Family) -> dict[str, Any]:
    normals = [normal if isinstance(normal, Normal) else None for normal in batch["normal"]]
    table = make_feature_table(list(batch["window"]), normals, family)
    return {"row": batch["row"].to_numpy()} | {name: getattr(table, name) for name in PARTS}


@contextmanager
def open_executor(workers: int) -> Iterator[Executor]:
    """Open this process as an executor, or with more than one worker a Ray that ends with it."""
    if workers <= 1:
        yield InlineExecutor()
    else:
        with local_ray(workers) as ray:
            yield RayExecutor(ray)
