"""What a new password must be, over REST and on the command line alike.

Source: NIST SP 800-63B-4, 3.1.1.2: length and a list of what is commonly chosen decide; which kinds of characters there
are does not, and no password goes out of date.
"""

import re
import unicodedata
from functools import cache
from pathlib import Path

from pipelines.errors import PasswordRefused

# Source: the same: 15 characters where a password is all that is asked for, as it is here, and no limit below 64; the
# limit itself is an own choice.
LENGTH_MIN, LENGTH_MAX = 15, 256
NAME_MIN = 4  # characters of a user name that no password may hold; own choice: shorter ones stand within words
REPEATED_MIN = 8  # characters that a repeated part must have; own choice: the least of any password in the source
COMMON = Path(__file__).with_name("common_passwords.txt")
# Keys in their rows and columns, and alphabets: what fingers and children run along.
ROWS = (
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "йцукенгшщзхъфывапролджэячсмитьбю",
)
AROUND = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def normal_form(password: str) -> str:
    """Return the one form of all spellings of a password: NFKC of Unicode's annex 15."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, username: str, field: str = "password") -> None:
    """Refuse a new password that is easily guessed.

    Raises:
        PasswordRefused: It breaks a rule; says which, and not what it was.
    """
    text = normal_form(password).casefold()
    length = len(normal_form(password))
    name = normal_form(username).casefold().strip().partition("@")[0]
    if length < LENGTH_MIN:
        raise PasswordRefused(
            field, f"must have at least {LENGTH_MIN} characters, such as some words that are no saying"
        )
    if length > LENGTH_MAX:
        raise PasswordRefused(field, f"must have at most {LENGTH_MAX} characters")
    if len(name) >= NAME_MIN and name in text:
        raise PasswordRefused(field, "must not contain the user name")
    if _is_common(text):
        rule = "must not be one that many choose: a common one, repeated or with signs around it, too, or a row of keys"
        raise PasswordRefused(field, rule)


def _is_common(text: str) -> bool:
    part = _repeated(text)
    forms = {form.replace(" ", "") for form in (text, part, AROUND.sub("", text), AROUND.sub("", part))}
    return len(part) < REPEATED_MIN or bool(forms & common_passwords()) or _is_row(text)


def _repeated(text: str) -> str:
    """Return the shortest part that makes a text by being repeated: the text itself, mostly."""
    lengths = range(1, len(text) + 1)
    return next(text[:length] for length in lengths if (text[:length] * len(text)).startswith(text))


def _is_row(text: str) -> bool:
    """Tell whether a text runs along one row, from anywhere in it, back or forth, and around."""
    return any(text in row * len(text) or text[::-1] in row * len(text) for row in ROWS)


@cache
def common_passwords() -> frozenset[str]:
    """Return what people choose most, in small letters and without blanks."""
    return frozenset(COMMON.read_text(encoding="utf-8").split())
