"""One TOML file becomes ready objects; nothing else reads settings, key files or the environment's.

Paths in the file are relative to it. A value that does not fit is named by its place (``$.fetch.total_timeout_s``). Private keys of an
authority are refused wherever they turn up.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from custodes.authorities.settings import ListSettings
from custodes.authorities.shield import ShieldSettings
from custodes.confine import keep_secrets
from custodes.crypto.hardware import Pkcs11Signer, Token
from custodes.crypto.keys import (
    RunKey,
    Signer,
    TransportKey,
    VerifierKey,
    create_keys,
    load_lists_key,
    load_run_key,
    load_signing_key,
    load_transport_key,
    read_private,
)
from custodes.crypto.seal import Recipient, create_identity
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.errors import ConfigError, ListError
from custodes.examine import Examiner
from custodes.gateway.settings import GatewaySettings
from custodes.handover.settings import HandoverSettings
from custodes.handover.verdicts import VerdictStore
from custodes.jurisdictions import PolicySettings
from custodes.keylife import earlier_keys, refuse_retired
from custodes.ledger.manifest import ListUsed
from custodes.lists.checks import ListChecks, Samples
from custodes.lists.formats import check_map, read_entries
from custodes.lists.matcher import Matcher, MatchSettings
from custodes.lists.shelf import Shelf
from custodes.lists.store import ListStore, StoreRules
from custodes.model import Meaning
from custodes.net import FetchLimits
from custodes.postgres.database import CONNECTIONS_MAX, Database
from custodes.postgres.settings import DatabaseSettings
from custodes.scan.settings import Pass, ScanSettings
from custodes.serving.defence import Clock, Guard, Memory
from custodes.serving.judge import Judge
from custodes.serving.settings import ServeSettings
from custodes.settings_text import configuration_text
from custodes.transparency.settings import LogSettings

__all__ = ["CONFIG_NAME", "Config", "Site", "create_site", "find_config", "load_site"]

CONFIG_NAME = "custodes.toml"
SUSPECTS_MAX = 100_000


class Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[authority]``: to whom findings are sealed, and whose verdicts on them are believed."""

    recipients: list[str] = []
    verifiers: list[str] = []
    suspects_max: int = 1000
    demo: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.suspects_max <= SUSPECTS_MAX:
            raise ValueError(f"suspects_max must be from 0 to {SUSPECTS_MAX:,}")


class Places(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[places]``: where keys, lists and verdicts lie."""

    keys: str = "keys"
    lists: str = "lists"
    verdicts: str = "verdicts"


class Signing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[signing]``: the token (PKCS #11) that holds the key which this site signs with. Left out, the key is ``signing.key`` among the keys."""

    pkcs11_module: str = ""
    """Library of the token's maker, for example ``/usr/lib/softhsm/libsofthsm2.so``. Needs the extra ``custodes[pkcs11]``."""
    token: str = ""
    """Label of the token."""
    key: str = ""
    """Label of the key pair (Ed25519) in it."""
    pin: str = ""
    """File with the PIN, which nobody else may read."""
    name: str = "custodes"
    """Name of the key, for those who verify."""

    def __post_init__(self) -> None:
        needed = (self.pkcs11_module, self.token, self.key, self.pin)
        if any(needed) and not all(needed):
            raise ValueError("signing needs pkcs11_module, token, key and pin together")


class Scan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[scan]``: how scans run."""

    passes: tuple[Pass, ...] = ("columns", "bytes")
    decode_policy: DecodePolicy = DecodePolicy.FAST
    workers: int = 0
    unexamined_share_warn: float = 0.5

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError("workers must be 0 (one for each processor) or more")
        if not 0 <= self.unexamined_share_warn <= 1:
            raise ValueError("unexamined_share_warn must be between 0 and 1")
        if self.decode_policy is DecodePolicy.FAST_1:
            raise ValueError("decode_policy fast/1 is not made any more: use fast/2 or exact/1")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    authority: Authority = Authority()
    places: Places = Places()
    signing: Signing = Signing()
    scan: Scan = Scan()
    database: DatabaseSettings = DatabaseSettings()
    fetch: FetchLimits = FetchLimits()
    image: ImageLimits = ImageLimits()
    lists: dict[str, ListSettings] = {}
    match: dict[str, MatchSettings] = {}
    policy: PolicySettings = PolicySettings()
    meaning: dict[str, dict[str, Meaning]] = {}
    maps: dict[str, dict[str, str]] = {}
    serve: ServeSettings = ServeSettings()
    handover: HandoverSettings = HandoverSettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()
    shield: ShieldSettings = ShieldSettings()

    def __post_init__(self) -> None:
        for name, columns in self.maps.items():
            try:
                check_map(columns)
            except ListError as error:
                raise ValueError(f"maps.{name}: {error}") from error
        if "" in self.meaning:
            raise ValueError(
                '[meaning.""] would give a meaning to lists that state no scheme: name their scheme at import'
            )


class Site:
    """A configuration with its directory: gives the objects that commands work with."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    def recipients(self) -> list[Recipient]:
        """The authority's public keys. Raises ConfigError if there is none: nothing that could find something starts without one."""
        found = [Recipient.parse(text) for text in self.config.authority.recipients]
        if not found:
            raise ConfigError(
                f"{self.path} names no authority, and nothing that could find something starts without one",
                hint='put the public key that the authority gave you under [authority]: recipients = ["age1…"]; '
                "to try things out: custodes init DIR --demo-authority",
            )
        return found

    def verifiers(self) -> list[VerifierKey]:
        """The keys that the authority signs its verdicts with. Raises ConfigError if there is none."""
        if not self.config.authority.verifiers:
            raise ConfigError(
                f"{self.path} names no key of the authority that verdicts could be verified with",
                hint='put the line that the authority gave you under [authority]: verifiers = ["name+id+base64"]',
            )
        return [VerifierKey.parse(text) for text in self.config.authority.verifiers]

    def verdicts(self) -> VerdictStore:
        """What the authority has said of findings."""
        return VerdictStore(self.home / self.config.places.verdicts, self.run_key(), self.verifiers())

    def run_key(self) -> RunKey:
        """The key that names findings."""
        return load_run_key(self.keys / "run.key")

    def lists(self) -> ListStore:
        """The hash lists. How far each had come is remembered beside the configuration, apart from the lists.

        Whoever asks for them will decrypt some: from here on this process leaves no core file, and others of the same user cannot read it.
        """
        keep_secrets()
        rules = StoreRules(
            checks={name: settings.checks for name, settings in self.config.lists.items()},
            samples=self._samples,
            memory=self.home / "lists.memory",
        )
        return ListStore(self.home / self.config.places.lists, load_lists_key(self.keys / "lists.key"), rules)

    def list_settings(self, list_id: str) -> ListSettings:
        """What is configured of a list; for one that is not named, what is so for all."""
        return self.config.lists.get(list_id, ListSettings())

    def _samples(self, checks: ListChecks) -> Samples:
        """Canaries, which only their owner may read, and harmless hashes, from the files that are named."""
        canaries, harmless = (self.home / text if text else None for text in (checks.canaries, checks.harmless))
        if canaries is not None and canaries.is_file() and canaries.stat().st_mode & 0o077:
            raise ConfigError(f"{canaries} holds hashes of a list, and can be read by others", hint="run: chmod 600")
        return Samples(
            tuple(read_entries(canaries)) if canaries else (), tuple(read_entries(harmless)) if harmless else ()
        )

    def lists_used(self, list_ids: Sequence[str] = ()) -> list[ListUsed]:
        """The lists asked for (default: all) in their current versions. Raises ListError if there is none."""
        return [ListUsed(id=name, version=version) for name, version in self.lists().current(list_ids or None).items()]

    def examiner(self, used: Sequence[ListUsed] | None = None, settings: ScanSettings | None = None) -> Examiner:
        """An examiner for these versions of lists, decrypted into memory (default: all, as they are now); judges as configured, or as a run was told to."""
        named = self.lists_used() if used is None else used
        loaded = self.lists().load({item.id: item.version for item in named})
        settings = settings or self.scan_settings()
        return Examiner(Matcher(loaded, settings.match, meanings=settings.meaning), settings.policy.policy())

    def shelf(
        self, used: Sequence[ListUsed], elsewhere: Callable[[str, str], bytes | None] = lambda _id, _version: None
    ) -> Shelf:
        """These versions of lists, decrypted and indexed once for all workers of this machine. ``elsewhere``: see ``Shelf.filled``."""
        return Shelf.filled(self.lists(), {item.id: item.version for item in used}, elsewhere)

    def examiner_of(self, shelf: Shelf, settings: ScanSettings) -> Examiner:
        """An examiner for the lists of a shelf, which it does not copy, that judges as a run was told to."""
        matcher = Matcher(shelf.lists(), settings.match, indexes=shelf.indexes(), meanings=settings.meaning)
        return Examiner(matcher, settings.policy.policy())

    def judge(self, versions: Mapping[str, str]) -> Judge:
        """The matcher of the match service, with these versions of lists. It reads what tenants have found when it is first asked."""
        serve, key = self.config.serve, load_lists_key(self.keys / "lists.key")
        limits = [self.config.match.get(name, MatchSettings()).pdq_distance_bits for name in versions]
        clock = Clock(time.time, time.monotonic)

        def guards() -> dict[str, Guard]:
            return {
                name: Guard(name, tenant, Memory(self.serve_state, name, key), clock, 2 * max(limits) + 2)
                for name, tenant in serve.tenants.items()
            }

        used = [ListUsed(id=name, version=version) for name, version in versions.items()]
        return Judge(self.examiner(used), guards, serve.hits_per_day)

    def database(self, connections: int = CONNECTIONS_MAX) -> Database | None:
        """The database that this site shares with others; None where none is configured. It is not asked yet."""
        settings = self.config.database
        if not settings.url:
            return None
        hint = "write the database's password into a file of mode 0600"
        path = self.home / settings.password_file
        password = read_private(path, hint=hint).decode().strip("\r\n") if settings.password_file else ""
        return Database(settings.address(password), connections=connections)

    def transport_keys(self) -> list[TransportKey]:
        """What waits to be sent is locked under the first; the others were in use before."""
        paths = [self.keys / "transport.key"]
        paths += [self.home / text for text in self.config.handover.earlier_transport_keys]
        return [load_transport_key(path) for path in paths]

    def signing_key(self) -> Signer:
        """What this site signs with. Raises ConfigError where it was succeeded or revoked."""
        signer = self.signer()
        refuse_retired(self.keys, signer.verifier)
        return signer

    def signer(self) -> Signer:
        """As ``signing_key``, whatever was stated of the key since."""
        signing = self.config.signing
        if not signing.pkcs11_module:
            return load_signing_key(self.keys / "signing.key")
        where = Token(Path(signing.pkcs11_module), signing.token, signing.key, self.home / signing.pin)
        return Pkcs11Signer(signing.name, where)

    def earlier_keys(self) -> tuple[VerifierKey, ...]:
        """The keys that this site signed with before."""
        return earlier_keys(self.keys)

    def check_keys(self) -> None:
        """Raises ConfigError, naming it, where a key is missing that findings will be handed over with: now, and not when they have to be sent."""
        self.transport_keys()
        self.signing_key()

    @property
    def serve_state(self) -> Path:
        """Where the match service remembers what tenants have found."""
        return self.path.parent / self.config.serve.state

    def workers(self) -> int:
        """Worker processes for a scan."""
        return self.config.scan.workers or len(os.sched_getaffinity(0))

    def scan_settings(self, **changed: Any) -> ScanSettings:
        """Scan settings as configured, with the given ones changed (None: as configured)."""
        config = self.config
        base = ScanSettings(
            passes=config.scan.passes,
            fetch=config.fetch,
            image=config.image,
            decode_policy=config.scan.decode_policy,
            match=config.match,
            policy=config.policy.used(),
            meaning=config.meaning,
        )
        return msgspec.structs.replace(base, **{name: value for name, value in changed.items() if value is not None})

    @property
    def keys(self) -> Path:
        """The folder of the keys."""
        return self.home / self.config.places.keys

    @property
    def home(self) -> Path:
        """The folder of the configuration, which paths in it are relative to."""
        return self.path.parent


def find_config(given: str | None) -> Path:
    """The file that ``--config`` or CUSTODES_CONFIG names, or ``custodes.toml`` here. Raises ConfigError if it is not there."""
    path = Path(given or os.environ.get("CUSTODES_CONFIG") or CONFIG_NAME)
    if path.is_dir():
        path = path / CONFIG_NAME
    if not path.is_file():
        raise ConfigError(
            f"there is no configuration at {path}",
            hint="make one with: custodes init DIR, then pass --config DIR/custodes.toml",
        )
    return path.resolve()


def load_site(given: str | None) -> Site:
    """Read and check a configuration."""
    path = find_config(given)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text", hint="see docs/reference/configuration.md") from error
    if "AGE-SECRET-KEY-" in text.upper():
        raise ConfigError(
            f"{path} holds a private key of an authority: it belongs to the authority alone",
            hint="remove it; use the public key age1…",
        )
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}", hint="see docs/reference/configuration.md") from error
    return Site(path, config)


def create_site(directory: Path, recipients: list[str], *, demo: bool = False, name: str = "custodes") -> Site:
    """Write ``custodes.toml`` and new keys into a directory. Refuses to overwrite anything. ``demo`` makes a throw-away authority too.

    ``name``: of the signing key.
    """
    path = directory / CONFIG_NAME
    if any((directory / name).exists() for name in (CONFIG_NAME, "keys", "demo-authority.key")):
        raise ConfigError(
            f"{directory} holds a configuration already", hint="choose another directory; keys are never overwritten"
        )
    parsed = [str(Recipient.parse(text)) for text in recipients]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the directory {directory}: {error.strerror}", hint="choose another one"
        ) from error
    create_keys(directory / "keys", name)
    if demo:
        secret, recipient = create_identity()
        write_new(
            directory / "demo-authority.key",
            f"# The secret key of a demo authority. A real authority's never leaves the authority.\n{secret}\n",
        )
        parsed.append(recipient)
    write_new(path, configuration_text(parsed, demo=demo))
    return load_site(str(path))


def write_new(path: Path, text: str) -> None:
    """Create a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
