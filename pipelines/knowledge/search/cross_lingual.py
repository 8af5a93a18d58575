"""Forms of a text in which English and Russian meet, for an encoder that reads one of the two.

Words of the trade meet in the glossary; names, brands and loan words meet in their sound.
"""

import re

from pipelines.knowledge.records import Language
from pipelines.knowledge.search.text import concept, stems

# Source: tuned on XQuAD, 595 Russian questions over 240 English paragraphs: nDCG@10 .545 with 3 letters, .634 with 4,
# .613 with 5, .477 with whole words without vowels; .077 with MiniLM's vectors.
GRAM = 4
SHORTEST = 3

CYRILLIC = re.compile(r"[а-я]")
# One letter a sound, in both scripts; the soft and hard signs and h have none that the other script writes.
LETTERS = str.maketrans(
    {
        **dict(zip("абвгдезийклмнопрстуфхыэ", "abvgdesiiklmnoprstufhie", strict=True)),
        **{"ж": "j", "ч": "4", "ш": "6", "щ": "6", "ц": "s", "ю": "u", "я": "a", "ъ": "", "ь": "", "z": "s", "h": ""},
    }
)
# What an English word writes with more than one letter, or otherwise than it sounds, in this order.
SOUNDS = (
    *(("tion", "sn"), ("sch", "6"), ("sh", "6"), ("tch", "4"), ("ch", "4"), ("ph", "f"), ("th", "t"), ("gh", "g")),
    *(("ck", "k"), ("qu", "kv"), ("q", "k"), ("x", "ks"), ("w", "v"), ("dg", "j"), ("ge", "j"), ("gi", "j")),
    *(("ce", "s"), ("ci", "s"), ("cy", "s"), ("c", "k"), ("y", "i")),
)


def neutral(text: str, language: Language, *, once: bool = False) -> str:
    """Return a text's keys, apart by spaces: concepts of the glossary, numbers, and pieces of how each word sounds.

    Args:
        text: A passage or a question.
        language: Of the text.
        once: A word that has a concept is not told by its sound as well.
    """
    found: list[str] = []
    for stem in dict.fromkeys(stems(text, language)):
        named = concept(stem, language)
        if named:
            found.append(named)
        if not (named and once):
            found += [stem] if stem.isdigit() else _pieces(sound(stem))
    return " ".join(dict.fromkeys(found))


def sound(word: str) -> str:
    """Return how a word sounds, written alike for both scripts."""
    if CYRILLIC.search(word):
        return word.replace("дж", "ж").translate(LETTERS).replace("h", "")
    for written, heard in SOUNDS:
        word = word.replace(written, heard)
    return word.translate(LETTERS)


def _pieces(heard: str) -> list[str]:
    marked = f"^{heard}"
    if len(marked) <= GRAM:
        return [marked] if len(marked) >= SHORTEST else []
    return [marked[at : at + GRAM] for at in range(len(marked) - GRAM + 1)]
