"""Policies and facts for tests: harmless stand-ins alone."""

from __future__ import annotations

from hypothesis import strategies as st

from custodes.gateway.rules.policy import Policy, read_policy
from custodes.gateway.vocabulary import Fact, Stage

HEAD = '[policy]\nname = "tests"\nas_of = 2026-01-02\nsource = "the tests"\n'
UMBRELLA = """
[[rules]]
name = "an umbrella in a garden"
when = ["context:umbrella", "context:garden"]
action = "refuse"
grade = "hard"
"""


def rule(**fields: object) -> str:
    """A rule in TOML, that stops softly on an umbrella where nothing else is said."""
    whole = {"name": "a rule of the tests", "when": ["context:umbrella"], "action": "refuse", "grade": "soft"} | fields
    lines = [f"{name} = {toml(value)}" for name, value in whole.items() if value is not None]
    return "\n".join(["", "[[rules]]", *lines, ""])


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {toml(each)}' for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def policy(*rules: str, head: str = "") -> Policy:
    return read_policy(HEAD + head + "".join(rules))


def facts(*names: str, stage: Stage = Stage.INPUT) -> list[Fact]:
    return [Fact(name, stage, "tests") for name in names]


NAMES = (
    *("context:minor", "context:sexual", "context:real-person", "context:undress-edit", "context:umbrella"),
    *("context:garden", "context:fountain", "negative:minor", "obfuscation", "unreadable", "unknown:model", "explicit"),
    *("known:report", "known:hold", "person:protected", "input:photo-of-person", "input:face", "input:init"),
    *("moderation:violence", "moderation:sexual/minors", "fault:inspection", "never-heard-of"),
)
some_facts = st.builds(
    Fact,
    st.sampled_from(NAMES),
    st.sampled_from(Stage),
    st.sampled_from(["a", "b"]),
    st.one_of(st.none(), st.floats(0, 1), st.just(float("nan"))),
    st.sampled_from(["", "prompt"]),
)
