"""What a new password must be."""

import unicodedata

import pytest

from pipelines.errors import PasswordRefused
from serve_app.shared.credentials import hash_password, verify_password
from serve_app.shared.passwords import COMMON, LENGTH_MAX, LENGTH_MIN, check_password, common_passwords

GOOD = [
    "some words that are no saying",
    "839201746592017",  # which kinds of characters there are is nobody's business
    "ñandú über die brücke",
    "насосы шумят ночью громче",
    "油圧ポンプの音は夜になると大きく聞こえる",
    "x" * 7 + "y" * 8,
    "Tr0ub4dor&3 and more",
]
COMMONLY_CHOSEN = [
    "correct horse battery staple",
    "CorrectHorseBatteryStaple",
    "passwordpassword",
    "PasswordPasswordPass",
    "Password12345678",
    "!!!!!!letmein!!!!!!",
    "aaaaaaaaaaaaaaa",
    "abcabcabcabcabcabc",
    "12345678901234567",
    "98765432109876543",
    "qwertyuiopasdfghjkl",
    "zyxwvutsrqponmlkj",
    "йцукенгшщзхъфыва",
    "парольпароль2026",
    "hydraulicdiagnostics",
    "ｐａｓｓｗｏｒｄｐａｓｓｗｏｒｄ",  # full width, as another keyboard writes it
]


@pytest.mark.parametrize("password", [*GOOD, "a b" + "c" * 12, "long words " * 5 + "x" * 9])
def test_a_password_of_any_kind_is_taken(password: str) -> None:
    """Length decides, whatever the letters are and however many kinds of them there are; 64 are never too many."""
    check_password(password, "operator")


@pytest.mark.parametrize("password", COMMONLY_CHOSEN)
def test_what_many_choose_is_refused(password: str) -> None:
    """The list is asked about the whole, about what is repeated, and about what is left without signs around it."""
    with pytest.raises(PasswordRefused, match="many choose"):
        check_password(password, "operator")


def test_length_is_counted_in_characters() -> None:
    """Of the form that is kept: neither bytes nor the parts of a letter count, and both ends are taken."""
    word = "ab" * 4 + "cdefghij" * 40
    for length, is_taken in ((LENGTH_MIN - 1, False), (LENGTH_MIN, True), (LENGTH_MAX, True), (LENGTH_MAX + 1, False)):
        if is_taken:
            check_password(word[:length], "")
        else:
            with pytest.raises(PasswordRefused, match=f"at (least {LENGTH_MIN}|most {LENGTH_MAX}) characters"):
                check_password(word[:length], "")
    composed = "éàèùâêîôûëïüÿç"
    assert len(composed) == LENGTH_MIN - 1
    with pytest.raises(PasswordRefused, match="at least"):
        check_password(unicodedata.normalize("NFD", composed), "")


@pytest.mark.parametrize("username", ["lamplighter", "LampLighter", " lamplighter ", "lamplighter@example.com"])
def test_the_user_name_is_no_part_of_it(username: str) -> None:
    """In no case of its letters, nor an e-mail's first part; a short name may stand within a word."""
    with pytest.raises(PasswordRefused, match="user name"):
        check_password("a Lamplighter in the dark", username)
    check_password("a lamplighter in the dark", "amp")


def test_a_refusal_tells_nobody_the_password() -> None:
    """Neither its words nor its parts hold it; it names the field that it is given."""
    with pytest.raises(PasswordRefused) as refused:
        check_password("short secret", "ann", "new_password")
    assert str(refused.value).startswith("new_password: ")
    assert "short secret" not in repr(refused.value) + str(vars(refused.value))


def test_one_password_has_many_spellings() -> None:
    """However its letters are composed a password is the same, and one that was hashed as it came still opens."""
    composed = "ñandú über die brücke"
    parts = unicodedata.normalize("NFD", composed)
    assert parts != composed
    assert verify_password(hash_password(parts), composed)
    assert verify_password(hash_password(composed), parts)
    assert not verify_password(hash_password(composed), "nandu uber die brucke")


def test_a_hash_of_before_still_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that was hashed before spellings were made one is known by the spelling that it was set in."""
    parts = unicodedata.normalize("NFD", "ñandú über die brücke")
    with monkeypatch.context() as before:
        before.setattr("serve_app.shared.credentials.normal_form", lambda password: password)
        hashed = hash_password(parts)
    assert verify_password(hashed, parts)


def test_the_list_is_written_as_it_is_looked_up() -> None:
    """Small letters, one spelling, no blanks, each once and in order: nothing in it is there in vain."""
    words = COMMON.read_text(encoding="utf-8").splitlines()
    assert len(words) > 500
    assert words == sorted(set(words))
    assert [word for word in words if unicodedata.normalize("NFKC", word).casefold() != word] == []
    assert common_passwords() == set(words)
