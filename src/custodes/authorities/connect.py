"""From the settings of a list to the adapter that brings it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from custodes.authorities import ncmec, stopncii, tat, threatexchange
from custodes.authorities.base import Authority
from custodes.authorities.bundle import Bundle, open_bundle_source
from custodes.authorities.settings import ListSettings
from custodes.errors import ConfigError
from custodes.services.calls import Caller
from custodes.services.credentials import Credentials, load_credentials

__all__ = ["Surroundings", "connect"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an adapter is connected in: the folder that paths are relative to, one for its own state, the environment."""

    home: Path
    state: Path
    environ: Mapping[str, str]


def connect(list_id: str, settings: ListSettings, around: Surroundings) -> Authority:
    """The adapter for a list. Raises ConfigError."""
    if not settings.authority:
        raise ConfigError(
            f"list {list_id} has no authority: it is imported from files",
            hint=f'name one in the configuration: [lists.{list_id}] authority = "ncmec"',
        )
    return _CONNECTORS[settings.authority](list_id, settings, around)


def _credentials(
    list_id: str, settings: ListSettings, around: Surroundings, fields: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Credentials:
    where = str(around.home / settings.credentials) if settings.credentials else ""
    return load_credentials(where, fields, list_id, around.environ, optional=optional)


def _caller(settings: ListSettings, base: str, service: str, **more: object) -> Caller:
    return Caller(
        settings.url or base,
        service,
        limits=settings.calls,
        unsafe_allow_loopback=settings.unsafe_allow_loopback,
        **more,  # type: ignore[arg-type]
    )


def _ncmec(list_id: str, settings: ListSettings, around: Surroundings) -> Authority:
    if settings.environment not in ncmec.ENVIRONMENTS:
        raise ConfigError(
            f"list {list_id}: NCMEC has no such environment", hint=f"one of: {', '.join(ncmec.ENVIRONMENTS)}"
        )
    found = _credentials(list_id, settings, around, ("username", "password"))
    base = ncmec.ENVIRONMENTS[settings.environment].base
    caller = _caller(settings, base, f"NCMEC {settings.environment}", basic=(found["username"], found["password"]))
    return ncmec.Ncmec(caller, settings.environment, frozenset(settings.member_ids))


def _stopncii(list_id: str, settings: ListSettings, around: Surroundings) -> Authority:
    found = _credentials(list_id, settings, around, ("subscription_key", "fetch_key"), ("feedback_key",))

    def caller(key: str) -> Caller:
        headers = {"x-functions-key": key, "Ocp-Apim-Subscription-Key": found["subscription_key"]}
        return _caller(settings, stopncii.ENVIRONMENTS["production"].base, "StopNCII", headers=headers)

    feedback = caller(found["feedback_key"]) if "feedback_key" in found else None
    return stopncii.StopNcii(caller(found["fetch_key"]), feedback)


def _threatexchange(list_id: str, settings: ListSettings, around: Surroundings) -> Authority:
    token = _credentials(list_id, settings, around, ("access_token",))["access_token"]
    return threatexchange.ThreatExchange(
        _caller(settings, threatexchange.ENVIRONMENTS["production"].base, "ThreatExchange"),
        token,
        settings.privacy_group,
    )


def _tat(list_id: str, settings: ListSettings, around: Surroundings) -> Authority:
    found = _credentials(list_id, settings, around, ("username", "password"))
    return tat.Tat(
        _caller(settings, tat.ENVIRONMENTS["production"].base, "Tech Against Terrorism"),
        (found["username"], found["password"]),
    )


def _bundle(list_id: str, settings: ListSettings, around: Surroundings) -> Authority:
    assert settings.bundle is not None
    files = open_bundle_source(settings.bundle, around.home, unsafe_allow_loopback=settings.unsafe_allow_loopback)
    return Bundle(settings.bundle, around.home, around.state / list_id, files)


_CONNECTORS: Final[Mapping[str, Callable[[str, ListSettings, Surroundings], Authority]]] = {
    "ncmec": _ncmec,
    "stopncii": _stopncii,
    "threatexchange": _threatexchange,
    "tat": _tat,
    "bundle": _bundle,
}
