"""Reads the label columns of a file: which columns are labels, and what their cells say of a component.

What a stranger writes there costs little: columns, grades and words are bounded, and what breaks a rule is named.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.machines.family import Grade
from pipelines.machines.labelling import CALLED, CALLED_RULE
from pipelines.signals.tabular.fields import PART
from pipelines.signals.tabular.headings import role_of
from pipelines.signals.tabular.validity import words_of

# Label columns of a file, and grades of one. Source: own choice; the test rig has four components of two to four
# grades, and each head is one more model to fit.
LABELS_MAX, GRADES_MAX = 32, 8
# Cells that a column is first looked at by; one with more grades among them is no label. Source: own choice.
PROBE = 1000
UNKNOWN = -1
# What is well, in words. Source: labels of public recordings of machines, and of the journals of plants.
NOMINAL = {
    *["0", "ok", "okay", "normal", "nominal", "healthy", "good", "none", "no", "false", "fine", "well"],
    *("no fault", "fault free", "fault-free", "no anomaly", "optimal", "full efficiency"),
    *["norm", "норма", "норм", "нормально", "исправен", "исправна", "исправно", "исправный", "нет", "хорошо", "годен"],
    *["gut", "gesund", "keine", "kein", "nein", "fehlerfrei"],
    *("in ordnung", "i.o.", "io"),
}
FAULTY = {"true": 1, "yes": 1, "да": 1, "ja": 1}
# Headers of columns that say whether anything is wrong, and not what.
OVERALL = {
    *["anomaly", "anomalies", "anomalous", "fault", "faulty", "failure", "defect", "label", "labels", "target"],
    *["аномалия", "неисправность", "отказ", "дефект", "метка", "anomalie", "störung", "fehler", "defekt"],
}
ALWAYS_OVERALL = "anomaly"
# Words of headers that say what a machine does: a column of 0 and 1 under them is no label unless people say so.
STATES = re.compile(
    r"\brun|\bon\b|\boff\b|state|status|mode|auto|manual|enabl|command|\bcmd\b|open|clos|start|stop|load|cycle|phase|"
    r"valid|quality|good|работ|режим|вкл|состоян|пуск|стоп|цикл|betrieb|läuft|modus|zustand|\bein\b|zyklus",
    re.IGNORECASE,
)


class Labels(NamedTuple):
    """What one label column says.

    Attributes:
        component: What its header calls; empty where it says that something is wrong, and not what.
        grades: Those that are there, the nominal one first.
        codes: `int64[L]` place of each cell's grade; -1 where it says nothing.
    """

    component: str
    grades: tuple[Grade, ...]
    codes: NDArray[np.int64]


def is_label(header: str, cells: "pd.Series[Any]", others: Collection[str]) -> bool:
    """Tell whether a column that nobody has named is one of labels: 0 and 1, or grades of which one is nominal.

    Args:
        cells: Text, or numbers.
        others: Headers of the family's channels.
    """
    name, role = header.strip(), role_of(header)
    if name in others or STATES.search(name.replace("_", " ")) or not CALLED.match(name):
        return False
    if role is not None and not PART.fullmatch(name):
        return False
    found = _distinct(words_of(cells.iloc[:PROBE]))
    if len(found) > GRADES_MAX or len(found := _distinct(words_of(cells))) > GRADES_MAX:
        return False
    grades = [_grade(word) for word in found]
    is_flag = all(isinstance(grade, int) for grade in grades)
    return (set(grades) <= {0, 1} if is_flag else not any(isinstance(grade, float) for grade in grades)) and (
        0 in grades and len(set(grades)) > 1
    )


def read_labels(header: str, words: Sequence[object]) -> Labels:
    """Read a label column.

    Raises:
        InvalidInput: It has too many grades, none that is nominal, or a name that cannot be shown.
    """
    name = header.strip()
    if not CALLED.match(name):
        raise InvalidInput("label", header, CALLED_RULE)
    text = pd.Series(list(map(str, words)), dtype=object).str.strip()
    found = _distinct(text)
    if len(found) > GRADES_MAX:
        raise InvalidInput(f"label {name}", f"{len(found)} different cells", f"must have at most {GRADES_MAX} grades")
    read = {word: _grade(word) for word in found}
    for word, grade in read.items():
        if isinstance(grade, float) or (isinstance(grade, str) and not CALLED.match(grade)):
            raise InvalidInput(f"label {name}", word, "must be a whole number, or a word of at most 64 letters")
    if found and 0 not in read.values():
        rule = "must hold 0 or a word for what is well in some row, as normal, ok, норма or gut"
        raise InvalidInput(f"label {name}", ", ".join(found), rule)
    whole: dict[str, Grade] = {word: grade for word, grade in read.items() if not isinstance(grade, float)}
    faults = sorted(set(whole.values()) - {0}, key=lambda grade: (isinstance(grade, str), grade))
    places = {grade: place for place, grade in enumerate((0, *faults))}
    known = {word: places[grade] for word, grade in whole.items()}
    codes = np.array([known.get(word, UNKNOWN) for word in text.tolist()], dtype=np.int64)
    overall = name.casefold() == ALWAYS_OVERALL or (name.casefold() in OVERALL and len(faults) < 2)
    well = next((word for word in found if whole[word] == 0), "0")
    # Grades are all numbers, or all words: columns of answers and tables are of one type.
    words_too = any(isinstance(each, str) for each in faults)
    grades: tuple[Grade, ...] = (well, *map(str, faults)) if words_too else (0, *faults)
    return Labels("" if overall else name, grades, np.minimum(codes, 1) if overall else codes)


def _distinct(words: "pd.Series[Any]") -> list[str]:
    """Return the different cells that hold something, in the order of the alphabet."""
    found = {str(word).strip() for word in words.unique()}
    return sorted(found - {"", "nan", "None", "NaN", "<NA>"})


def _grade(word: str) -> Grade | float:
    """Return what a cell says: 0 for what is well, a whole number, or a word; a number that is not whole as it is."""
    small = word.casefold()
    if small in NOMINAL:
        return 0
    if small in FAULTY:
        return FAULTY[small]
    if not _is_number(word):
        return word
    number = float(word.replace(",", "."))
    return int(number) if number.is_integer() and abs(number) < 1e6 else number


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[+-]?\d{1,12}(?:[.,]\d{1,12})?", word) is not None
