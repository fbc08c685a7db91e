"""Credentials of services: from a file that only its owner can read, or from the environment; in no message and no repr."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custodes.crypto.keys import read_private
from custodes.errors import ConfigError

__all__ = ["Credentials", "load_credentials", "variable"]


class Credentials(dict[str, str]):
    """What a service knows us by, by field. Prints the names of the fields alone."""

    def __repr__(self) -> str:
        return f"<Credentials {', '.join(self)}>"

    __str__ = __repr__


def load_credentials(
    where: str, fields: Sequence[str], service: str, environ: Mapping[str, str], *, optional: Sequence[str] = ()
) -> Credentials:
    """Exactly these fields, and of the optional ones those that are there, from the TOML file ``where``, or ("") from the variables
    CUSTODES_SERVICE_FIELD.

    Raises ConfigError, which names fields and files and never a value.
    """
    if where:
        found = _from_file(Path(where), fields, optional)
    else:
        set_ = [name for name in optional if variable(service, name) in environ]
        found = _from_environment([*fields, *set_], service, environ)
    for name, value in found.items():
        if not value or value != value.strip() or not value.isprintable():
            source = where or variable(service, name)
            raise ConfigError(f"{source}: {name} must be text without spaces around it or control characters")
    return found


def variable(service: str, field: str) -> str:
    """The environment variable of a field."""
    return re.sub(r"[^A-Z0-9]+", "_", f"CUSTODES_{service}_{field}".upper())


def _from_file(path: Path, fields: Sequence[str], optional: Sequence[str]) -> Credentials:
    form = "write it as TOML, for its owner alone (mode 0600): " + ", ".join(name + ' = "…"' for name in fields)
    content = read_private(path, hint=form)
    table = _table(content)
    if table is None:  # raised here, for the parser's own errors quote what they read
        raise ConfigError(f"{path} is not TOML", hint=form)
    if missing := [name for name in fields if name not in table]:
        raise ConfigError(f"{path} lacks {', '.join(missing)}", hint=form)
    if table.keys() - {*fields, *optional}:  # not named: a credential may stand where a name belongs
        raise ConfigError(f"{path} holds more than {', '.join([*fields, *optional])}", hint=form)
    if not all(isinstance(value, str) for value in table.values()):
        raise ConfigError(f"{path} holds a value that is not text", hint=form)
    return Credentials(table)


def _table(content: bytes) -> dict[str, Any] | None:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None


def _from_environment(fields: Sequence[str], service: str, environ: Mapping[str, str]) -> Credentials:
    names = {field: variable(service, field) for field in fields}
    if missing := [name for name in names.values() if name not in environ]:
        hint = "set it in the environment, or name a file of credentials in the configuration"
        raise ConfigError(f"no credentials of {service}: {', '.join(missing)} is not set", hint=hint)
    return Credentials({field: environ[name] for field, name in names.items()})
