"""Where a database is, and how it may be reached: a URL without a password becomes parameters for libpq.

Promises that a server on another machine is reached by TLS that verifies its name, unless the operator gave that up by name, and that no password stands in
a URL. Everything that decides whether a commit is durable is set here, for each session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from custodes.errors import ConfigError

__all__ = ["Address", "parameters"]

CONNECT_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_S: Final = 30
LOCK_TIMEOUT_S: Final = 10
IDLE_TIMEOUT_S: Final = 30
"""How long a transaction may wait for its client: one that is stopped with locks in its hand costs others less than their patience."""
UNANSWERED_S: Final = 30
"""After so long without a sign of the other side, a connection is lost."""

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_HERE: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1|[/@].*")
_SESSION: Final[Mapping[str, str]] = {
    "synchronous_commit": "on",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S}s",
    "default_transaction_isolation": r"read\ committed",
    "TimeZone": "UTC",
}
_LIBPQ: Final[Mapping[str, str]] = {
    "application_name": "custodes",
    "client_encoding": "UTF8",
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    "target_session_attrs": "read-write",  # of several hosts, the one that is not a standby
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": str(UNANSWERED_S * 1000),
}


@dataclass(frozen=True)
class Address:
    """Where a database is: ``postgresql://custodes@db.example/custodes``. Its tables lie in ``schema``, apart from others'.

    ``unsafe_no_tls``: a server on another machine may be reached with less than ``sslmode=verify-full``.
    """

    url: str
    password: str = field(default="", repr=False)
    schema: str = "custodes"
    unsafe_no_tls: bool = False

    def __post_init__(self) -> None:
        if not _SCHEMA.fullmatch(self.schema):
            raise ConfigError(
                f"the schema {self.schema!r} is not a plain name", hint="use a-z, 0-9 and _, at most 63 of them"
            )
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise ConfigError(
                "the database's url does not begin with postgresql://", hint="see docs/guides/postgresql.md"
            )


def parameters(address: Address, parsed: Mapping[str, str]) -> dict[str, str]:
    """What libpq is given, from what it parsed of the URL. Raises ConfigError for a URL with a password, and for a way that is not safe."""
    if "password" in parsed or "passfile" in parsed or "options" in parsed:
        raise ConfigError(
            "the database's url holds a password, passfile or options", hint="name a file of mode 0600 as password_file"
        )
    session = {**_SESSION, "search_path": address.schema}
    given = {**_LIBPQ, **parsed, "options": " ".join(f"-c {name}={value}" for name, value in session.items())}
    if address.password:
        given["password"] = address.password
    if _remote(parsed):
        _verify(given, address)
    return given


def _remote(parsed: Mapping[str, str]) -> bool:
    """Whether any host of the URL is another machine. Without a host it is a socket of this one."""
    hosts = [*parsed.get("host", "").split(","), *parsed.get("hostaddr", "").split(",")]
    return any(host and not _HERE.fullmatch(host) for host in hosts)


def _verify(given: dict[str, str], address: Address) -> None:
    mode = given.setdefault("sslmode", "verify-full")
    if mode != "verify-full" and not address.unsafe_no_tls:
        raise ConfigError(
            f"the database is on another machine, and its url says sslmode={mode}",
            hint="leave sslmode out, which verifies the server; name its authority with sslrootcert=FILE",
        )
    if mode == "verify-full":
        given.setdefault("sslrootcert", "system")
