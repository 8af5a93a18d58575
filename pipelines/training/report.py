"""Draws an evaluation as one HTML page with its plots."""

import io
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.diagnosis.calibration import BINS
from pipelines.machines.family import Family
from pipelines.training.evaluate import ENSEMBLE, Evaluation, Judged, findings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES = 8  # alarms shown with their explanation
COLUMNS = 4  # recordings side by side

PAGE = Path(__file__).with_name("report.html")


def render(family: Family, found: Evaluation) -> str:
    """Return the page; it needs nothing but itself."""
    from jinja2 import Environment

    tables = [
        ("All left out", found.panels),
        ("Members' own votes", found.members),
        ("By length", found.lengths),
        ("By what was left out together", found.parts),
    ]
    whole = found.judged[ENSEMBLE]
    plots = [
        ("ROC", plotted(1, lambda axes: draw_roc(axes[0], found))),
        ("Reliability", plotted(1, lambda axes: draw_reliability(axes[0], whole))),
        *confusions(family, whole),
        ("Score over time; shaded where the label says anomaly", score_over_time(whole)),
    ]
    template = Environment(autoescape=True).from_string(PAGE.read_text(encoding="utf-8"))
    return template.render(family=family, found=found, tables=tables, plots=plots, examples=explained(whole))


def plotted(count: int, draw: "Callable[[list[Axes]], None]") -> str:
    """Return a picture of some axes as base64."""
    from matplotlib.figure import Figure

    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    size = (5.5, 4.0) if count == 1 else (4.0 * columns, 2.2 * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    draw(axes[:count])
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return b64encode(content.getvalue()).decode()


def draw_roc(axis: "Axes", found: Evaluation) -> None:
    """Draw the curve of each panel."""
    from sklearn.metrics import roc_curve

    for name, part in found.judged.items():
        known = np.isfinite(part.scores)
        if known.any():
            far, hit, _ = roc_curve(part.anomaly[known], part.scores[known])
            axis.plot(far, hit, label=name)
    axis.set(xlabel="false alarms", ylabel="found", xlim=(0, 1), ylim=(0, 1))
    axis.legend()


def draw_reliability(axis: "Axes", whole: Judged) -> None:
    """Draw the share of anomalies against the stated probability."""
    known = np.isfinite(whole.scores)
    scores, truth = whole.scores[known], whole.anomaly[known]
    place = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    filled = np.unique(place)
    stated = [scores[place == number].mean() for number in filled]
    seen = [truth[place == number].mean() for number in filled]
    axis.plot([0, 1], [0, 1], color="0.7")
    axis.plot(stated, seen, marker="o")
    axis.set(xlabel="stated probability", ylabel="share of anomalies", xlim=(0, 1), ylim=(0, 1))


def confusions(family: Family, whole: Judged) -> list[tuple[str, str]]:
    """Return a confusion matrix a head, of windows of the full length."""
    full = whole.seconds >= family.window_s
    found = []
    for name, component in family.components.items():
        classes = list(family.heads[component.head].classes)
        graded = findings_of(whole, name)
        rows = [row for row in graded if full[row]]
        own = [classes[0], *component.faulty]
        truth = [classes[number] for number in whole.heads[component.head][rows]] if rows else []
        said = [graded[row].grade for row in rows]
        kept = [grade if grade in component.faulty else classes[0] for grade in truth]
        found.append((f"{name}: recorded grade (down), diagnosed (across)", _confusion(own, kept, said)))
    return found


def _confusion(classes: Sequence[Any], truth: Sequence[Any], said: Sequence[Any]) -> str:
    table = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for real, found in zip(truth, said, strict=True):
        table[classes.index(real), classes.index(found)] += 1

    def draw(axes: "list[Axes]") -> None:
        axes[0].imshow(table / np.maximum(table.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
        names = list(map(str, classes))
        axes[0].set(xticks=range(len(names)), yticks=range(len(names)), xticklabels=names, yticklabels=names)
        for (row, column), count in np.ndenumerate(table):
            axes[0].text(column, row, str(count), ha="center", va="center")

    return plotted(1, draw)


def score_over_time(whole: Judged) -> str:
    """Return one small plot a group: score, alarm and label in the order of time."""
    groups = np.unique(whole.groups)

    def draw(axes: "list[Axes]") -> None:
        for axis, group in zip(axes, groups, strict=True):
            rows = np.flatnonzero(whole.groups == group)
            rows = rows[np.argsort(whole.places[rows], kind="stable")]
            places = np.arange(len(rows))
            axis.fill_between(places, 0, 1, where=whole.anomaly[rows].tolist(), color="0.85", step="mid")
            axis.plot(places, whole.scores[rows], linewidth=0.8)
            axis.plot(places, np.where(whole.alarms[rows], 1.04, np.nan), color="crimson", linewidth=2)
            axis.set(title=str(group), ylim=(0, 1.08), xticks=[])

    return plotted(len(groups), draw)


def explained(whole: Judged) -> list[str]:
    """Return alarms in words, spread evenly over all there are."""
    alarms = np.flatnonzero(whole.alarms)
    evenly = np.linspace(0, len(alarms) - 1, min(EXAMPLES, len(alarms))).astype(np.int64)
    return [_sentence(whole, int(row)) for row in alarms[evenly]]


def _sentence(whole: Judged, row: int) -> str:
    diagnosis = whole.diagnoses[row]
    shares = ", ".join(
        f"{share.channel} {share.contribution:+.2f} (mean {share.deviation.value:.4g} {share.deviation.unit}, "
        f"normal {share.deviation.normal:.4g})"
        for share in diagnosis.attribution
    )
    truth = "an anomaly" if whole.anomaly[row] else "normal"
    return (
        f"{whole.groups[row]}, {whole.places[row]}: score {diagnosis.score:.2f}, {diagnosis.anomaly_type or 'no type'}"
        f"{', ' + ', '.join(diagnosis.affected) if diagnosis.affected else ''}; recorded as {truth}. {shares}"
    )
