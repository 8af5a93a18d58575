"""Makes a new version of every detector from recordings and feedback.

Its run in MLflow says enough of it to make the same version again, byte for byte.
"""

import platform
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib.metadata import version as installed
from typing import NamedTuple

import numpy as np

from configs.settings import version
from pipelines.datasets.feedback import Remark, feedback_examples, fingerprint_of, in_order, together
from pipelines.datasets.recordings import Recordings
from pipelines.detectors.base import Examples
from pipelines.detectors.bundle import Bundle, pack, unpack
from pipelines.detectors.members import registry
from pipelines.machines.family import Family
from pipelines.training.executor import Executor, open_executor
from pipelines.training.train import FOLDS, Progress, Settings, examples_of, fit_member, folds
from pipelines.training.tuning import Trial, attempt, best, candidates

LIBRARIES = ("numpy", "catboost", "xgboost", "scikit-learn", "skl2onnx")


class Plan(NamedTuple):
    """How to train.

    Attributes:
        seed: Of all that is drawn.
        trials: Settings tried for each detector beside the shipped ones.
        workers: Processes; 1 is this one.
    """

    seed: int
    trials: int = 0
    workers: int = 1


class Learned(NamedTuple):
    """A trained detector and how it came about.

    Attributes:
        bundle: To be registered.
        trials: Settings that were tried for it.
        provenance: By name what is needed to make it again beside data, seed and settings.
    """

    bundle: Bundle
    trials: tuple[Trial, ...]
    provenance: Mapping[str, str]


class Task(NamedTuple):
    """What every step of a training needs."""

    family: Family
    examples: Examples
    seed: int
    fingerprint: str


def learn(
    family: Family, recordings: Recordings, remarks: Sequence[Remark], plan: Plan, progress: Progress
) -> list[Learned]:
    """Fit every detector of the registry on recordings and feedback.

    The same recordings, remarks, seed and trials give the same files, byte for byte, for any number of workers and
    in whatever order the remarks come.
    """
    with open_executor(plan.workers) as executor:
        progress("features", 0, 1)
        parts = [examples_of(recordings, family, executor.tables)] if len(recordings.windows) else []
        parts += [feedback_examples(in_order(remarks), family, executor.tables)] if remarks else []
        examples = reduce(together, parts)
        task = Task(family, examples, plan.seed, fingerprint_of(recordings.fingerprint, remarks))
        trials = _search(executor, task, plan.trials, progress)
        chosen = [(name, best([trial for trial in trials if trial.detector == name])) for name in registry()]
        found = []
        for number, files in enumerate(executor.each(_fit, task, chosen)):
            found.append(unpack(files, family))
            progress("train", number + 1, len(chosen))
    provenance = provenance_of(examples, len(remarks))
    return [
        Learned(bundle, tuple(trial for trial in trials if trial.detector == bundle.card.detector), provenance)
        for bundle in found
    ]


def _search(executor: Executor, task: Task, count: int, progress: Progress) -> list[Trial]:
    """Try settings of every detector that has a space."""
    kinds = [kind for kind in registry().values() if kind.space] if count else []
    tried = [(kind.name, settings) for kind in kinds for settings in candidates(kind, task.seed, count)]
    found = []
    for number, trial in enumerate(executor.each(_attempt, task, tried)):
        found.append(trial)
        progress("try settings", number + 1, len(tried))
    return found


def _attempt(task: Task, tried: tuple[str, Settings]) -> Trial:
    name, settings = tried
    return attempt(name, task.examples, task.seed, settings)


def _fit(task: Task, chosen: tuple[str, Settings]) -> dict[str, bytes]:
    name, settings = chosen
    family = task.family
    return pack(
        fit_member(registry()[name], family, task.examples, task.seed, task.fingerprint, family.notes, settings)
    )


def provenance_of(examples: Examples, feedback_rows: int) -> dict[str, str]:
    """Return split, environment and share of feedback of a training."""
    left_out = [len(np.unique(examples.groups[rows])) for _, rows in folds(examples.groups, FOLDS, examples.anomaly)]
    return {
        "folds": str(len(left_out)),
        "groups": str(sum(left_out)),
        "groups_per_fold": ", ".join(map(str, left_out)),
        "feedback_rows": str(feedback_rows),
        "hdx": version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: installed(name) for name in LIBRARIES},
    }
