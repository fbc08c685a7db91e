"""From settings to a route. Nothing is asked of any receiver before something is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from custodes.crypto.seal import Recipient
from custodes.errors import ConfigError
from custodes.handover.cybertipline.client import connect as connect_cybertipline
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.delivery import Route
from custodes.handover.routes.coop import Coop
from custodes.handover.routes.cybertipline import CyberTiplineRoute
from custodes.handover.routes.hotline import Hotline
from custodes.handover.routes.sending import Around, Sender, caller_for, secrets_of
from custodes.handover.routes.settings import CoopSettings, HotlineSettings, RouteSettings, WebhookSettings
from custodes.handover.routes.webhook import Webhook
from custodes.handover.words import check_word

__all__ = ["Around", "Sender", "connect"]

_NAMELESS: Final = (CyberTiplineSettings, CoopSettings)


def connect(settings: RouteSettings, around: Around, name: str = "") -> Route:
    """The route. ``name``: which webhook or hotline it is. Raises ConfigError."""
    if isinstance(settings, _NAMELESS) == bool(name):
        raise ConfigError("webhooks and hotlines have names, and no other route has", hint="name one as ROUTE.NAME")
    if isinstance(settings, CyberTiplineSettings):
        service = connect_cybertipline(settings, around.home, around.environ) if around.account else None
        return CyberTiplineRoute(settings, service, around.sender.clock)
    if isinstance(settings, CoopSettings):
        return _coop(settings, around)
    if isinstance(settings, WebhookSettings):
        return _webhook(_word("webhook", name), settings, around)
    return _hotline(_word("hotline", name), settings, around)


def _coop(settings: CoopSettings, around: Around) -> Coop:
    if not around.account:
        return Coop(settings, None)
    found = secrets_of("coop", settings, around, ("api_key",), ())
    return Coop(settings, caller_for(settings, f"Coop {settings.environment}", {"X-API-KEY": found["api_key"]}))


def _webhook(name: str, settings: WebhookSettings, around: Around) -> Webhook:
    recipients = _recipients(settings.recipients)
    if not around.account:
        return Webhook(name, settings, None, around.sender, recipients)
    found = secrets_of(name, settings, around, (), ("token",))
    headers = {"Authorization": f"Bearer {found['token']}"} if "token" in found else {}
    caller = caller_for(settings, f"{name} {settings.environment}", headers)
    return Webhook(name, settings, caller, around.sender, recipients)


def _hotline(name: str, settings: HotlineSettings, around: Around) -> Hotline:
    return Hotline(name, settings, _recipients(settings.recipients), around.home / settings.folder, around.sender)


def _recipients(texts: Sequence[str]) -> list[Recipient]:
    return [Recipient.parse(text) for text in texts]


def _word(sort: str, name: str) -> str:
    """What records know the route by."""
    word = f"{sort}-{name}"
    try:
        check_word(word)
    except ValueError as error:
        raise ConfigError(f"a {sort} cannot be named so: {error}") from error
    return word
