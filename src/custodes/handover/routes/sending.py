"""What routes have in common: who sends, what every route refuses, a package of one incident, and what an answer of no means.

What is said by all of them is in ASCII JSON, so that it can be shown on a terminal exactly as it is sent and does nothing there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from custodes.crypto.keys import Signer
from custodes.crypto.seal import Recipient
from custodes.errors import ConfigError, InputError, InternalError
from custodes.handover.delivery import Dead, Later
from custodes.handover.incident import Incident
from custodes.handover.package import About, ListVersion, Package, Reporter, make_packages
from custodes.handover.parcel import Handed
from custodes.handover.routes.settings import CoopSettings, WebhookSettings
from custodes.handover.words import Environment, check_receipt, text_of
from custodes.services.calls import Answer, Caller
from custodes.services.credentials import Credentials, load_credentials

__all__ = [
    "Around",
    "Sender",
    "caller_for",
    "check_real",
    "name_of",
    "not_delivered",
    "opened",
    "packed",
    "plain_json",
    "secrets_of",
]

_BUSY: Final = frozenset({408, 409, 425, 429})
"""Of the 400s: as it is, it may be taken later. 409: an earlier delivery of the same key is still being worked on."""
_ACCOUNT: Final = frozenset({401, 403, 407})
Service = TypeVar("Service")


@dataclass(frozen=True)
class Sender:
    """Who hands over, and signs."""

    reporter: Reporter
    key: Signer
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True)
class Around:
    """What a route is connected in: the folder that paths are relative to, the environment's variables, and who sends.

    ``account`` false: for checks and previews. Then no credentials are read, and nothing can be sent.
    """

    home: Path
    environ: Mapping[str, str] = field(repr=False)
    sender: Sender
    account: bool = True


def opened(service: Service | None) -> Service:
    """What calls are made with. Raises InternalError in a route that was connected for previews alone."""
    if service is None:
        raise InternalError("this route was connected without an account, for previews alone")
    return service


def check_real(incident: Handed, environment: Environment) -> None:
    """Raises InputError for what was made up, where it would be taken for real."""
    if incident.demo and environment == "production":
        raise InputError("a demonstration is never handed over as real", hint='use environment = "test"')


def name_of(key: str) -> str:
    """A name made of a delivery's key: of a file, or of an item. Raises InputError where it would not be one."""
    name = key.replace("/", "-")
    try:
        check_receipt(name)
    except ValueError as error:
        raise InputError("the key of this delivery makes no name") from error
    return name


def packed(incident: Incident, recipients: Sequence[Recipient], environment: Environment, sender: Sender) -> Package:
    """The incident alone, sealed and signed. One that fits into an item of the outbox fits into one package."""
    about = About(
        reporter=sender.reporter,
        environment=environment,
        made_at=text_of(sender.clock()),
        tool=incident.tool,
        runs=tuple(sorted({place.run_id for place in incident.places})),
        datasets=tuple(sorted({place.dataset for place in incident.places})),
        lists=tuple(
            ListVersion(list=name, version=version)
            for name, version in sorted({(match.list, match.list_version) for match in incident.matches})
        ),
    )
    (package,) = make_packages([incident], about, recipients, sender.key)
    return package


def plain_json(value: Any) -> bytes:
    """JSON in printable ASCII: the same value, always the same bytes."""
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("\x7f", "\\u007f").encode("ascii")


def not_delivered(answer: Answer, requests: tuple[str, ...]) -> Later | Dead:
    """What an answer asks for that does not say that it was received. An item does not die of a changed password."""
    status = answer.status
    why = f"status-{status}"
    if status in _ACCOUNT:
        return Later(why, answer.after_s, account=True, requests=requests)
    if 400 <= status < 500 and status not in _BUSY:
        return Dead(why, status, requests)
    return Later(why, answer.after_s, requests=requests)


def caller_for(settings: WebhookSettings | CoopSettings, service: str, headers: Mapping[str, str]) -> Caller:
    """A client for the origin of the receiver's address. Raises ConfigError."""
    parts = urlsplit(settings.url)
    return Caller(
        f"{parts.scheme}://{parts.netloc}",
        service,
        headers=headers,
        limits=settings.calls,
        unsafe_allow_loopback=settings.unsafe_allow_loopback,
    )


def secrets_of(
    service: str,
    settings: WebhookSettings | CoopSettings,
    around: Around,
    needed: Sequence[str],
    optional: Sequence[str],
) -> Credentials:
    """What the receiver knows us by: from the file, which says for which environment it is, or from the environment's variables. Raises ConfigError."""
    name = f"{service}-{settings.environment}"
    if not settings.credentials:
        return load_credentials("", needed, name, around.environ, optional=optional)
    path = around.home / settings.credentials
    found = load_credentials(str(path), ("environment", *needed), name, around.environ, optional=optional)
    if found["environment"] != settings.environment:
        raise ConfigError(
            f"{path} holds credentials of another environment than {settings.environment}",
            hint="test and production have credentials of their own: name the file of the one that is meant",
        )
    return found
