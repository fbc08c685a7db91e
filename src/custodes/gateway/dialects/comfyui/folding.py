"""Values that a graph computes of values: done here, so that what is screened is what the generator is given, and it never computes a text itself.

Promises to be total (a value, or ValueError), and that no value is ever longer than ``CHARS_MAX``, not even on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["CHARS_MAX", "FOLDS", "Scalar", "fold"]

CHARS_MAX: Final = 100_000
_DIGITS_MAX: Final = 1 << 64
Scalar = str | int | float | bool | None
Inputs = Mapping[str, Any]


def fold(class_type: str, inputs: Inputs) -> Scalar:
    """What this node makes of these inputs. Raises ValueError."""
    try:
        return _bounded(FOLDS[class_type](inputs))
    except (KeyError, TypeError, AttributeError, OverflowError):
        raise ValueError("an input is missing, or not of its kind") from None


def _bounded(value: Scalar) -> Scalar:
    if isinstance(value, str) and len(value) > CHARS_MAX:
        raise ValueError("a text is too long")
    return value


def _text(inputs: Inputs, name: str) -> str:
    value = inputs[name]
    if not isinstance(value, str) or len(value) > CHARS_MAX:
        raise TypeError(name)
    return value


def _whole(inputs: Inputs, name: str) -> int:
    value = inputs[name]
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _DIGITS_MAX:
        raise TypeError(name)
    return value


def _number(inputs: Inputs, name: str) -> float:
    value = inputs[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(name)
    return value


def _flag(inputs: Inputs, name: str) -> bool:
    value = inputs.get(name, True)
    if not isinstance(value, bool):
        raise TypeError(name)
    return value


def _concatenated(inputs: Inputs) -> str:
    delimiter = _text(inputs, "delimiter") if "delimiter" in inputs else ""
    return delimiter.join((_text(inputs, "string_a"), _text(inputs, "string_b")))


def _replaced(inputs: Inputs) -> str:
    text, find, replace = (_text(inputs, name) for name in ("string", "find", "replace"))
    if len(text) + text.count(find) * max(0, len(replace) - len(find)) > CHARS_MAX:
        raise ValueError("a text is too long")
    return text.replace(find, replace)


_CASES: Final[Mapping[str, Callable[[str], str]]] = {
    "UPPERCASE": str.upper,
    "lowercase": str.lower,
    "Capitalize": str.capitalize,
    "Title Case": str.title,
}
_TRIMS: Final[Mapping[str, Callable[[str], str]]] = {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}


def _cased(inputs: Inputs) -> tuple[str, str]:
    """Two texts as they are compared."""
    second = "substring" if "substring" in inputs else "string_b"
    first, other = _text(inputs, "string" if second == "substring" else "string_a"), _text(inputs, second)
    return (first, other) if _flag(inputs, "case_sensitive") else (first.lower(), other.lower())


def _compared(inputs: Inputs) -> bool:
    first, other = _cased(inputs)
    ways: Mapping[str, Callable[[], bool]] = {
        "Equal": lambda: first == other,
        "Starts With": lambda: first.startswith(other),
        "Ends With": lambda: first.endswith(other),
    }
    return ways[inputs["mode"]]()


def _contains(inputs: Inputs) -> bool:
    first, other = _cased(inputs)
    return other in first


FOLDS: Final[Mapping[str, Callable[[Inputs], Scalar]]] = {
    "PrimitiveString": lambda inputs: _text(inputs, "value"),
    "PrimitiveStringMultiline": lambda inputs: _text(inputs, "value"),
    "PrimitiveInt": lambda inputs: _whole(inputs, "value"),
    "PrimitiveFloat": lambda inputs: _number(inputs, "value"),
    "PrimitiveBoolean": lambda inputs: _flag({"value": inputs["value"]}, "value"),
    "StringConcatenate": _concatenated,
    "StringSubstring": lambda inputs: _text(inputs, "string")[_whole(inputs, "start") : _whole(inputs, "end")],
    "StringLength": lambda inputs: len(_text(inputs, "string")),
    "CaseConverter": lambda inputs: _CASES[inputs["mode"]](_text(inputs, "string")),
    "StringTrim": lambda inputs: _TRIMS[inputs["mode"]](_text(inputs, "string")),
    "StringReplace": _replaced,
    "StringContains": _contains,
    "StringCompare": _compared,
}
"""What each node computes, as ComfyUI does."""
