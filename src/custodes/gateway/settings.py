"""``[gateway]``: where the gateway listens, which generator stands behind it, by what it judges, and who may ask. Values alone."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from custodes.gateway.people.settings import ProbingSettings, StrikeSettings, TenantSettings, wrong_tenants

__all__ = ["DetectorSettings", "EvidenceSettings", "GatewaySettings", "RemoteSettings", "Speech", "UpstreamSettings"]

Speech = Literal["openai", "a1111", "comfyui", "huggingface", "litellm"]
"""A dialect."""

_PORT: Final = Meta(ge=0, le=65_535)


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.upstream]``: the generator. Nobody but the gateway should be able to reach it."""

    address: str = ""
    """Its address: http:// or https://."""
    speaks: tuple[Speech, ...] = ("openai",)
    """What it speaks; the gateway speaks the same to clients."""
    models: tuple[str, ...] = ()
    """Models that are offered. None other passes, whatever the generator has."""
    adapters: tuple[str, ...] = ()
    """Adapters (LoRA) that requests may name."""
    embeddings: tuple[str, ...] = ()
    """Embeddings that requests may name."""
    nodes: str = ""
    """File that describes nodes of ComfyUI beside those that are understood."""
    folders: dict[str, tuple[str, ...]] = {}
    """Further files that graphs of ComfyUI may load, by its folders: vae, controlnet, upscale_models."""
    scripts: tuple[str, ...] = ()
    """Scripts of AUTOMATIC1111 that are allowed."""
    fields: tuple[str, ...] = ()
    """Further fields of OpenAI's requests that this generator takes, such as negative_prompt."""
    credentials: str = ""
    """File with `authorization = "…"`, the header that the generator asks for; empty: none."""
    timeout_s: Annotated[float, Meta(gt=0, le=3_600)] = 300.0
    """Time in which an answer must have come."""
    body_bytes_max: Annotated[int, Meta(ge=1, le=1 << 30)] = 268_435_456
    """Greatest answer."""

    def __post_init__(self) -> None:
        if self.address and not self.address.startswith(("http://", "https://")):
            raise ValueError("address must begin with http:// or https://")
        if not self.speaks:
            raise ValueError("speaks must name at least one dialect")


class DetectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.detectors]``: what looks at images beside the lists. Each has a card that says where it comes from."""

    explicit: str = "open-nsfw"
    """The detector of explicit pictures: a known model, or an operator's card FILE.toml."""
    register: str = ""
    """File of protected persons, as `custodes gateway register` writes it; empty: none."""
    register_floor: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """The register is compared only with pictures that are at least so explicit."""


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.remote]``: models behind OpenAI-compatible endpoints, asked only about what everything here lets pass."""

    moderation: str = ""
    """Address of a moderation endpoint; empty: none is asked."""
    moderation_form: Literal["moderations", "chat"] = "moderations"
    """How it is asked: /v1/moderations, or as a chat model of the Llama Guard kind."""
    moderation_model: str = ""
    """Its model's name."""
    rewriter: str = ""
    """Address of a chat model that rewrites; empty: rules alone do."""
    rewriter_model: str = ""
    """Its model's name."""
    credentials: str = ""
    """File with `authorization = "…"`; empty: none."""


class EvidenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.evidence]``: what becomes of a withheld image that the policy keeps, once it is sealed."""

    hand_over: bool = False
    """Have it wait to be sent at once, as far as the jurisdiction asks for it. Needs the site's transport key and signing key."""
    route: str = ""
    """By which route: cybertipline, coop, webhook.NAME or hotline.NAME; empty: what the jurisdiction of [policy] asks for."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway]``."""

    host: str = "127.0.0.1"
    """Address to listen on, as a number. Beyond loopback only with TLS."""
    port: Annotated[int, _PORT] = 8744
    """Port to listen on."""
    metrics_port: Annotated[int, _PORT] = 0
    """Port on 127.0.0.1 for `GET /metrics` (counts, for Prometheus); 0: none."""
    tls_certificate: str = ""
    """File of the certificate and its chain, PEM."""
    tls_key: str = ""
    """File of the certificate's private key, PEM."""
    public_url: str = ""
    """How clients reach the gateway, for links in answers; empty: images are given in the answer itself."""
    policy: str = "strict"
    """The policy: strict, uk, us, eu, or a file."""
    lexicons: tuple[str, ...] = ("starter",)
    """Lexicons that texts are screened by: names of ours, or files (encrypted ones end in .lexicon)."""
    state: str = "state/gateway"
    """Folder of the ledger and of withheld images, which are sealed."""
    body_bytes_max: Annotated[int, Meta(ge=1, le=1 << 30)] = 104_857_600
    """Greatest request."""
    requests_max: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Requests in hand at once; for more the answer is 429."""
    listeners_max: Annotated[int, Meta(ge=1, le=100_000)] = 1_024
    """Connections at once that only listen (ComfyUI's websocket); for more the answer is 429."""
    drain_s: Annotated[float, Meta(ge=0, le=3_600)] = 30.0
    """How long requests in hand may go on when the gateway stops."""
    decoders: Annotated[int, Meta(ge=1, le=256)] = 2
    """Jailed processes that decode."""
    reload_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """How often is looked for new versions of the lists; a SIGHUP looks at once, and takes policy, lexicons, register, tenants and limits as they are now."""
    provenance: str = ""
    """`c2pa-test` puts a C2PA manifest with a test certificate into released images; empty: none."""
    upstream: UpstreamSettings = UpstreamSettings()
    detectors: DetectorSettings = DetectorSettings()
    remote: RemoteSettings = RemoteSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    strikes: StrikeSettings = StrikeSettings()
    probing: ProbingSettings = ProbingSettings()
    decisions_days: Annotated[int, Meta(ge=1, le=3_650)] = 180
    """For so long a decision is kept that has no strike and no appeal; counts are kept for ever."""
    tenants: dict[str, TenantSettings] = {}
    """Who may ask."""

    def __post_init__(self) -> None:
        try:
            ip_address(self.host)
        except ValueError:
            raise ValueError("host must be an IP address, for example 127.0.0.1 or ::") from None
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together")
        if not self.lexicons:
            raise ValueError("lexicons must name at least one: nothing would be screened")
        if self.tenants and (wrong := next(wrong_tenants(self.tenants), "")):
            raise ValueError(wrong)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return ip_address(self.host).is_loopback
