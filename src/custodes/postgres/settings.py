"""What is configured of a database."""

from __future__ import annotations

import msgspec

from custodes.postgres.address import Address

__all__ = ["DatabaseSettings"]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[database]``: the PostgreSQL server that several machines share. Left out, all is in files. Needs the extra ``custodes[postgres]``."""

    url: str = ""
    """For example ``postgresql://custodes@db.example/custodes``, without a password. A server on another machine is verified (``sslmode=verify-full``)."""
    password_file: str = ""
    """File with the password, which nobody else may read; left out, none is sent."""
    schema: str = "custodes"
    """Where in the database the tables lie."""
    unsafe_no_tls: bool = False
    """Whether ``url`` may ask for less than ``sslmode=verify-full`` of a server on another machine."""

    def __post_init__(self) -> None:
        if self.url:
            self.address("")
        elif self.password_file or self.unsafe_no_tls:
            raise ValueError("database needs a url")

    def address(self, password: str) -> Address:
        """Where it is, and how it is reached."""
        return Address(self.url, password, self.schema, self.unsafe_no_tls)
