"""Lexicons: what is refused, without a word of what stands there; what is kept of them is encrypted."""

from __future__ import annotations

import traceback

import pytest

from custodes.crypto.keys import ListsKey
from custodes.errors import InputError
from custodes.gateway.screening.lexicon import (
    TERM_CHARACTERS_MAX,
    Lexicon,
    joined,
    lock_lexicon,
    open_lexicon,
    read_lexicon,
    shipped,
)
from custodes.gateway.screening.screen import Screen
from custodes.gateway.vocabulary import Text, TextRole

HEAD = 'format = "custodes lexicon 1"\ntitle = "t"\nas_of = 2026-11-23\nsource = "s"\n'
SECRET = "zanzibarlantern"


def made(body: str, head: str = HEAD) -> Lexicon:
    return read_lexicon((head + body).encode())


REFUSED = {
    "empty": (b"", "field"),
    "not UTF-8": (b"\xff", "UTF-8"),
    "not TOML": (f'{HEAD}[contexts.a.terms]\nen = ["{SECRET}"'.encode(), "not TOML"),
    "no context": (f"{HEAD}[contexts]\n".encode(), "no context"),
    "a context of nothing": (f"{HEAD}[contexts.a.terms]\nen = []\n".encode(), "neither terms nor ages"),
    "a format of another day": (
        HEAD.replace("1", "2", 1).encode() + f'[contexts.a.terms]\nen = ["{SECRET}"]\n'.encode(),
        "format",
    ),
    "a table that is none": (f'{HEAD}[contexts.a.words]\nen = ["{SECRET}"]\n'.encode(), "unknown field"),
    "a term that is a number": (f"{HEAD}[contexts.a.terms]\nen = [7]\n".encode(), "field"),
    "one letter": (f'{HEAD}[contexts.a.terms]\nen = ["{SECRET}", "q"]\n'.encode(), "entry 2 has fewer"),
    "no letter": (f'{HEAD}[contexts.a.terms]\nen = ["--"]\n'.encode(), "entry 1 has fewer"),
    "a digit": (f'{HEAD}[contexts.a.terms]\nen = ["{SECRET}7"]\n'.encode(), "digit"),
    "an age among terms": (f'{HEAD}[contexts.a.terms]\nen = ["# {SECRET}"]\n'.encode(), "#"),
    "an age without its number": (f'{HEAD}[contexts.a.ages]\nen = ["{SECRET} old"]\n'.encode(), "exactly one #"),
    "a star inside": (f'{HEAD}[contexts.a.terms]\nen = ["{SECRET}*x"]\n'.encode(), "\\*"),
    "too long": (f'{HEAD}[contexts.a.terms]\nen = ["{"z" * (TERM_CHARACTERS_MAX + 1)}"]\n'.encode(), "longer"),
    "a name with capitals": (f'{HEAD}[contexts.{SECRET.upper()}.terms]\nen = ["ab"]\n'.encode(), "name"),
    "an adult age of nothing": (f'{HEAD}adult_age = 0\n[contexts.a.terms]\nen = ["ab"]\n'.encode(), "adult_age"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_lexicon_is_refused_and_no_term_is_told(case: str) -> None:
    content, said = REFUSED[case]
    with pytest.raises(InputError, match=said) as caught:
        read_lexicon(content)
    told = "".join(traceback.format_exception_only(caught.value)) + str(caught.value.hint)
    assert SECRET not in told
    assert SECRET.upper() not in told


def test_a_term_at_the_limit_is_taken() -> None:
    assert made(f'[contexts.a.terms]\nen = ["{"z" * TERM_CHARACTERS_MAX}"]\n').contexts


def test_nothing_shows_a_term() -> None:
    lexicon = made(f'[contexts.a.terms]\nen = ["{SECRET}"]\n')
    screen = Screen(lexicon)
    text = Text(TextRole.POSITIVE, SECRET, "prompt")
    shown = [
        repr(lexicon),
        repr(lexicon.contexts),
        f"{lexicon}",
        repr(screen),
        repr(vars(screen)),
        repr(screen.facts([text])),
        repr(text),
    ]
    shown += [repr(form) for _, _, form in screen._words.hits(SECRET)]
    assert screen.facts([text])
    assert [SECRET in said for said in shown] == [False] * len(shown)


def test_a_lexicon_is_kept_encrypted_and_opens_with_its_key_alone() -> None:
    content = (HEAD + f'[contexts.a.terms]\nen = ["{SECRET}"]\n').encode()
    kept = lock_lexicon(ListsKey(b"k" * 32), content)
    assert SECRET.encode() not in kept
    assert open_lexicon(ListsKey(b"k" * 32), kept).digest == read_lexicon(content).digest
    for key, bad in (
        (b"j" * 32, kept),
        (b"k" * 32, kept[:-1]),
        (b"k" * 32, kept[:-1] + bytes([kept[-1] ^ 1])),
        (b"k" * 32, b""),
    ):
        with pytest.raises(InputError):
            open_lexicon(ListsKey(key), bad)


def test_what_is_no_lexicon_is_not_encrypted() -> None:
    with pytest.raises(InputError, match="no context"):
        lock_lexicon(ListsKey(b"k" * 32), f"{HEAD}[contexts]\n".encode())


def test_the_digest_names_what_the_lexicon_says() -> None:
    one, other = (made(f'[contexts.a.terms]\nen = ["{word}"]\n') for word in ("ab", "abc"))
    assert one.digest != other.digest
    assert one.digest == made('[contexts.a.terms]\n# a remark\nen = ["ab"]\n').digest


def test_lexicons_join_unless_they_contradict() -> None:
    starter, standins = shipped("starter"), shipped("standins")
    assert set(joined(starter, standins).contexts) == set(starter.contexts) | set(standins.contexts)
    with pytest.raises(InputError, match="two lexicons have the context"):
        joined(standins, standins)
    with pytest.raises(InputError, match="adult_age"):
        joined(standins, made('[contexts.a.terms]\nen = ["ab"]\n', HEAD + "adult_age = 21\n"))


def test_the_starter_has_its_contexts_in_twenty_languages() -> None:
    starter, standins = shipped("starter"), shipped("standins")
    assert set(starter.contexts) == {"minor", "sexual", "real-person", "undress-edit"}
    for context in (
        starter.contexts["minor"],
        starter.contexts["sexual"],
        standins.contexts["umbrella"],
        standins.contexts["garden"],
    ):
        assert len(context.terms) >= 20
