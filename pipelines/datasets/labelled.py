"""Makes labelled windows of a machine kind that people defined, from a file with label columns.

Each machine is commissioned by its first windows that are well, as the service commissions it, and the rest is learned.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.datasets.exports import MACHINE, TIME, Tell, frame_of, spans, whole
from pipelines.datasets.grades import LABELS_MAX, UNKNOWN, Labels, is_label, read_labels
from pipelines.datasets.mapping import Wanted, map_channels
from pipelines.datasets.recordings import Recordings, parquet_of
from pipelines.errors import InvalidInput
from pipelines.machines.commissioning import LEAST, NEEDED, Normal, commission
from pipelines.machines.family import Family, Grade
from pipelines.signals.reading import make_feature_table
from pipelines.signals.tabular import Table, read_table
from pipelines.signals.windows import Window

# Windows of a file that are learned; of more, every so many. Source: own choice; features of 64 channels take 200 MB.
WINDOWS_MAX = 20_000
# Stretches that a machine's windows of one kind are cut into, where single machines cannot be left out. Source: FOLDS.
STRETCHES = 4

Codes = NDArray[np.int64]
Truths = NDArray[np.bool_]


class Labelled(NamedTuple):
    """What a file shows.

    Attributes:
        recordings: Its windows; `labels` by component, None where nothing is known, and `anomaly`.
        grades: By component.
    """

    recordings: Recordings
    grades: Mapping[str, tuple[Grade, ...]]


class _Shown(NamedTuple):
    """The windows of one machine that are labelled without doubt, in their order.

    Attributes:
        codes: `int64[N, C]` by window and label column.
        anomalous: `bool[N]`.
    """

    windows: list[Window]
    codes: Codes
    anomalous: Truths

    def rows(self, chosen: Codes) -> "_Shown":
        """Return some of them."""
        return _Shown([self.windows[row] for row in chosen.tolist()], self.codes[chosen], self.anomalous[chosen])


def read_labelled(family: Family, path: Path, wanted: Wanted, named: Sequence[str], tell: Tell) -> Labelled:
    """Read a file of samples with label columns; what was read as what and what was left out is told.

    Args:
        family: One that people defined.
        named: Headers of the label columns; those that look like labels when there are none.
        tell: Told line by line.

    Raises:
        InvalidInput: The file cannot be read, has no labels, or a label breaks a rule.
        NotFound: The folder holds no file, or several.
    """
    source = parquet_of(path)
    table = read_table(source, zone=wanted.zone, is_label=_choice(family, wanted, named))
    mapped = map_channels(table, family, wanted)
    frame, told = frame_of(table, mapped, family, source.name.partition(".")[0])
    for line in (*table.report.lines(), *(f"  {line}" for line in (*mapped.lines, *told))):
        tell(line)
    columns = _columns(table, frame, named)
    for each in columns:
        tell(f"  label {each.component or 'of the whole machine'}: {', '.join(map(str, each.grades))}")
    shown = _machines(frame, table, family, list(mapped.values), columns, tell)
    said = repr([family.key, sorted(wanted.columns.items()), wanted.zone, sorted(named)]).encode()
    return _gathered(family, shown, columns, sha256(source.read_bytes() + said).hexdigest(), tell)


def _choice(family: Family, wanted: Wanted, named: Sequence[str]) -> Callable[[str, "pd.Series[str]"], bool]:
    """Return what tells label columns: those that people named, else those that look like such."""
    if named:
        return lambda header, _: header.strip() in named
    channels = {known for name, channel in family.channels.items() for known in (name, channel.column)}
    others = channels | {column.partition("[")[0].strip() for column in wanted.columns.values()}
    return lambda header, cells: is_label(header, cells, others)


def _columns(table: Table, frame: pd.DataFrame, named: Sequence[str]) -> list[Labels]:
    """Read the label columns.

    Raises:
        InvalidInput: One that was named is not there, there is none, or there are too many.
    """
    headers = [each.header for each in table.report.columns if each.role == "label" and each.header in frame]
    there = [header.strip() for header in headers]
    if missing := [name for name in named if name not in there]:
        known = ", ".join(repr(each.header) for each in table.report.columns)
        raise InvalidInput("label", missing[0], f"must be a column of the file, one a label; there are {known}")
    if not headers:
        known = ", ".join(repr(each.header) for each in table.report.columns)
        rule = "must hold a column of labels, 0 and 1 or words of which one says that all is well; name it by --label"
        raise InvalidInput("label", known, rule)
    if len(headers) > LABELS_MAX:
        raise InvalidInput("label", len(headers), f"must be at most {LABELS_MAX} columns: name them by --label")
    return [read_labels(header, frame[header].tolist()) for header in headers]


def _machines(
    frame: pd.DataFrame, table: Table, family: Family, channels: list[str], columns: list[Labels], tell: Tell
) -> dict[str, _Shown]:
    """Return the windows of each machine of a file."""
    family_hz = next(iter(family.channels.values())).rate_hz
    rate_hz = min(family_hz, 1 / table.step_s) if table.step_s > 0 else family_hz
    length, shown, mixed, unsaid = max(1, round(family.window_s * family_hz)), {}, 0, 0
    cells = {channel: frame[channel].to_numpy(dtype=np.float64) for channel in channels}
    for name, found in sorted(frame.groupby(MACHINE, sort=True).indices.items(), key=lambda pair: str(pair[0])):
        rows = np.asarray(found, dtype=np.int64)
        moments = None if table.times is None else frame[TIME].astype("datetime64[ns]").to_numpy()[rows]
        places, _ = spans(moments, len(rows), rate_hz, length)
        if not places:
            continue
        samples = rows[np.stack(places)]
        codes = np.stack([each.codes[samples[:, 0]] for each in columns], axis=1)
        # Column by column: all at once are some gigabytes of a large file.
        alike = np.all([(each.codes[samples] == each.codes[samples[:, :1]]).all(axis=1) for each in columns], axis=0)
        anomalous, normal = _truth(codes, columns)
        known = anomalous | normal
        mixed, unsaid = mixed + int((~alike).sum()), unsaid + int((alike & ~known).sum())
        kept, windows = [], []
        for place in np.flatnonzero(alike & known).tolist():
            window = whole({channel: cell[samples[place]] for channel, cell in cells.items()}, rate_hz, family)
            if window is not None:
                kept.append(place)
                windows.append(window)
        chosen = np.array(kept, dtype=np.int64)
        shown[str(name)] = _Shown(windows, codes[chosen], anomalous[chosen])
    for count, why in ((mixed, "with more than one label"), (unsaid, "of which no label says whether all is well")):
        if count:
            tell(f"  left out: {count} windows {why}")
    return shown


def _truth(codes: Codes, columns: Sequence[Labels]) -> tuple[Truths, Truths]:
    """Return which windows are anomalous, and which are well; those that are neither nobody knows.

    Shapes: `codes` `int64[N, C]` -> `bool[N]` each.
    """
    anomalous = np.asarray((codes > 0).any(axis=1))
    overall = [place for place, each in enumerate(columns) if not each.component]
    normal = np.asarray((codes[:, overall] == 0).all(axis=1) if overall else (codes == 0).all(axis=1))
    return anomalous, normal & ~anomalous


def _gathered(
    family: Family, shown: Mapping[str, _Shown], columns: Sequence[Labels], fingerprint: str, tell: Tell
) -> Labelled:
    """Commission each machine, and return what is left of all of them to learn."""
    parts: dict[str, tuple[_Shown, Normal]] = {}
    for name, each in shown.items():
        well = np.flatnonzero(~each.anomalous)
        taken = well[: min(NEEDED, max(LEAST, len(well) // 2))]
        if len(taken) < LEAST:
            tell(f"  left out: {name}, of which {len(well)} windows are well; {LEAST} tell what is normal for it")
            continue
        raw = make_feature_table([each.windows[row] for row in taken.tolist()], [None] * len(taken), family).raw
        parts[name] = each.rows(np.setdiff1d(np.arange(len(each.windows)), taken)), commission(raw, family)
        left = len(parts[name][0].windows)
        tell(f"  {name}: {len(taken)} windows that are well say what is normal for it, {left} are learned")
    total = sum(len(each.windows) for each, _ in parts.values())
    every = -(-total // WINDOWS_MAX)
    if every > 1:
        tell(f"  of {total} windows every {every}th is learned")
        parts = {n: (s.rows(np.arange(0, len(s.windows), every)), normal) for n, (s, normal) in parts.items()}
    return _recordings(parts, columns, fingerprint)


def _recordings(parts: Mapping[str, tuple[_Shown, Normal]], columns: Sequence[Labels], fingerprint: str) -> Labelled:
    shown = [each for each, _ in parts.values()]
    codes = np.concatenate([np.zeros((0, len(columns)), dtype=np.int64), *(each.codes for each in shown)])
    anomalous = np.concatenate([np.zeros(0, dtype=np.bool_), *(each.anomalous for each in shown)])
    machines = np.array([name for name, (each, _) in parts.items() for _ in each.windows], dtype=np.str_)
    groups = grouped(machines, anomalous)
    labels: dict[str, NDArray[np.generic]] = {"anomaly": anomalous}
    grades = {each.component: each.grades for each in columns if each.component}
    for place, column in enumerate(columns):
        if column.component:
            said = [column.grades[code] if code != UNKNOWN else None for code in codes[:, place].tolist()]
            labels[column.component] = np.array([*said, None], dtype=object)[:-1]
    windows = [window for each in shown for window in each.windows]
    normals = [normal for each, normal in parts.values() for _ in each.windows]
    return Labelled(Recordings(windows, normals, labels, groups, groups, fingerprint), grades)


def grouped(machines: NDArray[np.str_], anomalous: Truths) -> NDArray[np.str_]:
    """Return what no split cuts through: machines, where two or more had anomalies, else stretches of time.

    A machine's windows of one kind that follow each other make a stretch, and long ones several: what lies next to
    each other in time is never drawn at random to either side.

    Args:
        machines: `str[N]` of each window, those of one machine in the order of time.
        anomalous: `bool[N]`.
    """
    if min(len(set(machines[anomalous])), len(set(machines[~anomalous]))) > 1:
        return machines
    found = machines.astype(object)
    for machine in dict.fromkeys(machines.tolist()):
        rows = np.flatnonzero(machines == machine)
        kinds = np.split(rows, np.flatnonzero(np.diff(anomalous[rows])) + 1)
        stretches = [part for kind in kinds for part in np.array_split(kind, min(STRETCHES, len(kind))) if len(part)]
        for number, part in enumerate(stretches, 1):
            found[part] = f"{machine}, stretch {number}"
    return found.astype(np.str_)
