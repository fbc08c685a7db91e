"""What the generator reads of a prompt's grammar, moment by moment."""

from __future__ import annotations

import pytest

from custodes.gateway.screening.grammar import DEPTH_MAX, MOMENTS_MAX, moments

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "text without grammar has no other reading": ("a red umbrella", ()),
    "a weight vanishes": ("(umb:1.2)rella", ("umbrella",)),
    "emphasis vanishes, however deep": ("((((umb))))rella", ("umbrella",)),
    "square brackets alone only weigh": ("um[b]rella", ("umbrella",)),
    "an escape is a bracket of the text": ("\\(umb\\)rella", ("umbrella",)),
    "a schedule is before and after": ("[umb:x:0.5]rella", ("umbrella", "xrella")),
    "a schedule may begin with nothing": ("[umb:0.5]rella", ("rella", "umbrella")),
    "a schedule may end in nothing": ("[umb::0.5]rella", ("umbrella", "rella")),
    "an alternation is each of its texts": ("[a|umb]rella", ("arella", "umbrella")),
    "braces choose": ("a {red|green} car", ("a red car", "a green car")),
    "two schedules pass one after the other": ("[:umb:0.1][rella:x:0.9]", ("rella", "umbrella", "umbx")),
    "an alternation in a schedule": ("[[a|b]:c:0.5]", ("a", "b", "c")),
    "a network's name is read": ("<lora:garden:0.7>", (" garden ",)),
    "an embedding's name is read": ("embedding:garden-v2", (" garden-v2",)),
    "AND and BREAK only separate": ("umb BREAK rella", ("umb   rella",)),
    "a comment is not there": ("um/*x*/brella", ("umbrella",)),
    "what is not closed is text": ("[unclosed (x", ("unclosed x",)),
    "what closes nothing vanishes": ("[a|b] x] y)", ("a x y", "b x y")),
    "a time that is no number is text": ("[a:b:later]", ("a:b:later",)),
    "later moments tell the clauses that differ": ("sun, a [b|c] d, rain, [e]", ("sun, a b d, rain, e", " a c d, e")),
    "two weights": ("(a:1)(b:0.5)", ("ab",)),
}


@pytest.mark.parametrize("case", CASES)
def test_grammar(case: str) -> None:
    text, said = CASES[case]
    assert moments(text) == said


def test_brackets_deeper_than_the_limit_are_text() -> None:
    assert moments("[" * DEPTH_MAX + "a|b" + "]" * DEPTH_MAX) == ("a", "b")
    assert moments("[" * 5000 + "a" + "]" * 5000) == ("a",)


def test_no_more_moments_than_the_limit() -> None:
    assert len(moments("[" + "|".join("abcdefgh"[:MOMENTS_MAX]) + "]")) == MOMENTS_MAX
    assert len(moments("[" + "|".join("abcdefghijkl") + "]")) == MOMENTS_MAX
