"""The gateway, composed from a site: what is configured becomes a running guard, with a ledger, jailed decoders and sealed evidence.

Promises that nothing starts without lists, a policy, a lexicon, a detector, an authority to seal to, a tenant, and a model that is offered. Listening is for
the command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from custodes.config import Site
from custodes.crypto.keys import load_lists_key
from custodes.durable import make_folder
from custodes.errors import ConfigError
from custodes.gateway.app import Answered, AppLimits, Gateway
from custodes.gateway.dialects.a1111 import A1111
from custodes.gateway.dialects.a1111_fields import Offer
from custodes.gateway.dialects.comfyui.catalogue import Catalogue, core, extended, kind_of
from custodes.gateway.dialects.comfyui.dialect import ComfySettings, ComfyUI
from custodes.gateway.dialects.huggingface import HuggingFace
from custodes.gateway.dialects.litellm import LiteLLM
from custodes.gateway.dialects.openai import OpenAI, OpenAISettings
from custodes.gateway.door import Dialect, Door
from custodes.gateway.evidence import ByPolicy, Notes, Sealed
from custodes.gateway.guard import Checks, Guard, Remote
from custodes.gateway.inspection.detectors import Detector, open_detector
from custodes.gateway.inspection.inspector import Equipment, Inspector, decoders_for
from custodes.gateway.inspection.provenance import C2paStamp, Stamp, make_test_credentials
from custodes.gateway.inspection.register import Register
from custodes.gateway.people.metrics import Metrics
from custodes.gateway.people.people import Means, People, Recording
from custodes.gateway.people.postgres import PostgresLedger
from custodes.gateway.people.settings import PeopleSettings
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.people.tables import TableLedger
from custodes.gateway.remote import REMOTE_LIMITS, ChatGuard, ChatRewriter, Moderations
from custodes.gateway.rules.policy import Policy, load_policy, switched
from custodes.gateway.rules.rewriting import ModelRewriting, Rewriter
from custodes.gateway.rules.rulebook import Rulebook
from custodes.gateway.screening.lexicon import Lexicon, joined, open_lexicon, read_lexicon, shipped
from custodes.gateway.screening.screen import Screen
from custodes.gateway.settings import GatewaySettings
from custodes.gateway.upstream import Upstream, UpstreamLimits
from custodes.gateway.vocabulary import NameKind
from custodes.office import withheld_folder
from custodes.services.credentials import load_credentials
from custodes.withheld import Handing, evidence_route, noting

__all__ = ["LEDGER", "Standing", "checked", "equipment_of", "lexicon_of", "opened_ledger", "rulebook_of", "standing"]

LEDGER: Final = "ledger.sqlite"
LEDGER_CONNECTIONS: Final = 3
"""One writes, one reads, and one may be lost."""
_SHIPPED: Final = ("starter", "standins")

Tell = Callable[[Answered], None]


def checked(site: Site) -> GatewaySettings:
    """The settings, if a gateway can stand by them. Raises ConfigError for what is missing."""
    settings = site.config.gateway
    upstream = settings.upstream
    missing = {
        "[gateway.upstream] address": upstream.address,
        "[gateway.upstream] models": upstream.models,
        "[gateway.tenants.NAME]": settings.tenants,
    }
    for name, value in missing.items():
        if not value:
            raise ConfigError(
                f"{site.path} has no {name}", hint="docs/guides/guard-a-generator.md shows a whole configuration"
            )
    for name, tenant in settings.tenants.items():
        if unknown := sorted(set(tenant.models) - set(upstream.models)):
            raise ConfigError(
                f"tenant {name} may ask for {unknown[0]}, which is not offered",
                hint="models of a tenant are some of those in [gateway.upstream]",
            )
    site.recipients()
    site.lists_used()
    rulebook_of(site)
    lexicon_of(site)
    if settings.evidence.hand_over:
        evidence_route(site)
    return settings


def rulebook_of(site: Site) -> Rulebook:
    """The site's policy, and those of tenants that have one of their own. Raises ConfigError."""
    settings = site.config.gateway
    base = load_policy(settings.policy, site.home)
    own: dict[str, Policy] = {}
    for name, tenant in settings.tenants.items():
        policy = switched(base, tenant.off) if tenant.off else base
        if tenant.policy:
            if tenant.off:
                raise ConfigError(f"tenant {name} has a policy and rules that are off", hint="say one of both")
            policy = load_policy(tenant.policy, site.home)
        if policy is not base:
            own[name] = policy
    return Rulebook(base, own)


def lexicon_of(site: Site) -> Lexicon:
    """All lexicons as one. Raises ConfigError, InputError."""
    return joined(*(_lexicon(site, name) for name in site.config.gateway.lexicons))


def _lexicon(site: Site, name: str) -> Lexicon:
    if name in _SHIPPED:
        return shipped(name)
    path = site.home / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"lexicon {path} cannot be read: {error.strerror}") from error
    return (
        open_lexicon(load_lists_key(site.keys / "lists.key"), content)
        if path.suffix == ".lexicon"
        else read_lexicon(content)
    )


@dataclass
class Standing:
    """A gateway that stands: ``gateway.app`` is served by the command; ``reload`` takes new lists and a new policy for requests that come after it."""

    site: Site
    gateway: Gateway
    metrics: Metrics
    dialects: Sequence[Dialect]
    handing: Handing
    _door: Door
    _inspector: Inspector
    _equipment: Equipment
    _checks: Checks
    _sealed: Sealed
    _model: ModelRewriting | None
    _versions: Mapping[str, str]
    _people: People

    def reload(self, site: Site, *, policy: bool = False) -> bool:
        """Take lists that are new, and with ``policy`` rules, lexicons, register, tenants and limits as they are. Whether anything was.

        Raises ConfigError: then all stays.
        """
        versions = site.lists().current()
        if versions == self._versions and not policy:
            return False
        equipment = replace(self._equipment, examiner=site.examiner())
        checks = self._checks
        if policy:
            settings = checked(site)
            rulebook, lexicon = rulebook_of(site), lexicon_of(site)
            equipment = replace(equipment, register=_register(site))
            checks = replace(
                checks,
                screening=Screen(lexicon),
                ruling=rulebook,
                rewriting=_rewriter(rulebook, lexicon, self._model),
                records=_recording(self._people, rulebook),
                evidence=ByPolicy(rulebook, self._sealed),
            )
            self._people.use(_people_settings(settings))
        self._inspector.use(equipment)
        self._equipment, self._checks, self._versions = equipment, checks, versions
        self._door = replace(self._door, guard=Guard(checks))
        self.gateway.swap(self._door)
        return True

    async def drain(self) -> None:
        """Take no new requests, and let those in hand end. Whoever only listens is sent away: they would never end."""
        listening = [each.close() for each in self.dialects if isinstance(each, ComfyUI)]
        await asyncio.gather(self.gateway.drain(), *listening)


@asynccontextmanager
async def standing(site: Site, tell: Tell, detectors: Sequence[Detector] = ()) -> AsyncIterator[Standing]:
    """A gateway of a site, until the context ends. ``tell`` hears of each request when it is answered. ``detectors``: in place of what is configured.

    Raises ConfigError, JailError, StorageError.
    """
    settings = checked(site)
    async with AsyncExitStack() as stack:
        rulebook, lexicon, versions = rulebook_of(site), lexicon_of(site), site.lists().current()
        screening = asyncio.get_running_loop().run_in_executor(None, Screen, lexicon)  # while the decoders start
        equipment = equipment_of(site, settings, detectors)
        decoders = decoders_for(equipment, settings.decoders)
        stack.callback(decoders.close)
        decoders.start()
        inspector, metrics = Inspector(decoders, equipment), Metrics()
        state = site.home / settings.state
        make_folder(state)
        ledger = opened_ledger(site)
        stack.callback(ledger.close)
        people = People(ledger, _people_settings(settings), Means(site.run_key(), metrics))
        model = await _model_rewriter(site, settings, stack)
        handing = Handing(site, asyncio.Event())
        notes = noting(site, _from_threads(handing.stirred))
        if notes is not None:
            metrics.watch_withheld(notes.slips.count)
        sealed = _sealed(site, notes)
        checks = Checks(
            screening=await screening,
            inspecting=inspector,
            ruling=rulebook,
            rewriting=_rewriter(rulebook, lexicon, model),
            records=_recording(people, rulebook),
            evidence=ByPolicy(rulebook, sealed),
            remote=await _remote(site, settings, stack),
            known=_known(site, settings),
        )
        upstream = await stack.enter_async_context(_upstream(site, settings))
        stack.callback(asyncio.create_task(people.forgetting()).cancel)
        door = Door(people, Guard(checks), upstream, frozenset(settings.upstream.models), metrics)
        limits = AppLimits(settings.body_bytes_max, settings.requests_max, settings.drain_s, settings.listeners_max)

        def answered(line: Answered) -> None:
            metrics.answered(line.route, line.status, line.seconds)
            tell(line)

        dialects = dialects_of(site, settings)
        gateway = Gateway(door, dialects, limits, answered)
        parts = (door, inspector, equipment, checks, sealed, model, versions, people)
        yield Standing(site, gateway, metrics, dialects, handing, *parts)


def _sealed(site: Site, notes: Notes | None) -> Sealed:
    return Sealed(
        withheld_folder(site),
        site.recipients(),
        site.run_key(),
        site.config.handover.operator or "custodes gateway",
        demo=site.config.authority.demo,
        notes=notes,
    )


def _from_threads(event: asyncio.Event) -> Callable[[], object]:
    """Set it, whatever thread asks."""
    loop = asyncio.get_running_loop()
    return lambda: loop.call_soon_threadsafe(event.set)


def opened_ledger(site: Site) -> TableLedger:
    """The ledger: a file of this machine, or the database that the site's machines share. Raises ConfigError, StorageError."""
    path = site.home / site.config.gateway.state / LEDGER
    database = site.database(LEDGER_CONNECTIONS)
    if database is None:
        return SqliteLedger(path)
    if path.exists():
        raise ConfigError(
            f"a database is configured, and {path} holds strikes and appeals that are not in it",
            hint="keep that file elsewhere, and begin anew in the database; or leave [database] out",
        )
    return PostgresLedger(database)


def _recording(people: People, rulebook: Rulebook) -> Recording:
    return Recording(people, lambda tenant: rulebook.of(tenant).version)


def _people_settings(settings: GatewaySettings) -> PeopleSettings:
    return PeopleSettings(
        tenants=settings.tenants,
        strikes=settings.strikes,
        probing=settings.probing,
        decisions_days=settings.decisions_days,
    )


def dialects_of(site: Site, settings: GatewaySettings) -> Sequence[Dialect]:
    """What the generator speaks, and so the gateway."""
    upstream = settings.upstream
    adapters = frozenset(upstream.adapters)
    folders = {name: frozenset(files) for name, files in upstream.folders.items()}
    folders |= {"loras": adapters, "embeddings": frozenset(upstream.embeddings)}
    made: dict[str, Dialect] = {}
    if "openai" in upstream.speaks:
        made["openai"] = OpenAI(OpenAISettings(frozenset(upstream.fields), settings.public_url))
    if "a1111" in upstream.speaks:
        offer = Offer(
            upstream.models[0],
            scripts=frozenset(upstream.scripts),
            adapters=adapters,
            embeddings=frozenset(upstream.embeddings),
        )
        made["a1111"] = A1111(offer)
    if "comfyui" in upstream.speaks:
        made["comfyui"] = ComfyUI(ComfySettings(_nodes(site, settings), folders))
    if "huggingface" in upstream.speaks:
        made["huggingface"] = HuggingFace()
    if "litellm" in upstream.speaks:
        made["litellm"] = LiteLLM()
    return tuple(made.values())


def equipment_of(site: Site, settings: GatewaySettings, detectors: Sequence[Detector] = ()) -> Equipment:
    """What images are judged with. Raises ConfigError, InputError, ListError."""
    stamp: Stamp | None = None
    if settings.provenance == "c2pa-test":
        stamp = C2paStamp(make_test_credentials())
    elif settings.provenance:
        raise ConfigError(f"{site.path}: provenance is c2pa-test, or empty")
    looking = tuple(detectors) or (open_detector(settings.detectors.explicit),)
    return Equipment(site.examiner(), looking, _register(site), floor=settings.detectors.register_floor, stamp=stamp)


def _register(site: Site) -> Register | None:
    name = site.config.gateway.detectors.register
    return Register.load(site.home / name, load_lists_key(site.keys / "lists.key")) if name else None


def _rewriter(rulebook: Rulebook, lexicon: Lexicon, model: ModelRewriting | None) -> Rewriter:
    terms = {
        name: tuple(term for each in context.terms.values() for term in each)
        for name, context in lexicon.contexts.items()
    }
    return Rewriter(rulebook.rewriting(), terms, model)


def _nodes(site: Site, settings: GatewaySettings) -> Catalogue:
    """What may stand in a graph. Raises ConfigError."""
    file = settings.upstream.nodes
    return extended((site.home / file).read_bytes(), file) if file else core()


def _known(site: Site, settings: GatewaySettings) -> Mapping[NameKind, frozenset[str]]:
    upstream = settings.upstream
    known = {
        NameKind.MODEL: set(upstream.models),
        NameKind.ADAPTER: set(upstream.adapters),
        NameKind.EMBEDDING: set(upstream.embeddings),
        NameKind.SCRIPT: set(upstream.scripts),
        NameKind.NODE: set(_nodes(site, settings).nodes),
    }
    for folder, files in upstream.folders.items():
        known[kind_of(folder)].update(files)
    return {kind: frozenset(names) for kind, names in known.items()}


# -- what is behind an address


def _headers(site: Site, file: str, service: str) -> dict[str, str]:
    if not file:
        return {}
    found = load_credentials(str(site.home / file), ("authorization",), service, {})
    return {"Authorization": found["authorization"]}


def _upstream(site: Site, settings: GatewaySettings) -> Upstream:
    upstream = settings.upstream
    limits = UpstreamLimits(body_bytes_max=upstream.body_bytes_max, timeout_s=upstream.timeout_s)
    return Upstream(upstream.address, _headers(site, upstream.credentials, "generator"), limits)


async def _endpoint(site: Site, address: str, file: str, stack: AsyncExitStack) -> Upstream:
    return await stack.enter_async_context(Upstream(address, _headers(site, file, "model"), REMOTE_LIMITS))


async def _remote(site: Site, settings: GatewaySettings, stack: AsyncExitStack) -> Remote | None:
    remote = settings.remote
    if not remote.moderation:
        return None
    endpoint = await _endpoint(site, remote.moderation, remote.credentials, stack)
    asked = Moderations if remote.moderation_form == "moderations" else ChatGuard
    return asked(endpoint, remote.moderation_model)


async def _model_rewriter(site: Site, settings: GatewaySettings, stack: AsyncExitStack) -> ChatRewriter | None:
    remote = settings.remote
    if not remote.rewriter:
        return None
    return ChatRewriter(await _endpoint(site, remote.rewriter, remote.credentials, stack), remote.rewriter_model)
