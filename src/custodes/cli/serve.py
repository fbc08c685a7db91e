"""``custodes serve``: the match service, the keys of its tenants, and the entry point of its matcher process."""

from __future__ import annotations

import signal
import sys

import click
import msgspec

from custodes.channel import Frames, receive, send
from custodes.cli.options import as_json, config_option, json_option
from custodes.cli.tenants import new_key
from custodes.config import Site, load_site
from custodes.confine import die_with_parent, keep_secrets
from custodes.durable import exclusive
from custodes.errors import ConfigError, CustodesError, ExitCode, InputError
from custodes.jobs import confinement_of
from custodes.serving.defence import ask_unlock
from custodes.serving.judge import answer_all
from custodes.serving.keeper import Keeper, Service
from custodes.serving.messages import FrontHello, Listening, MatcherHello, Ready
from custodes.serving.mishaps import tell_crash
from custodes.serving.settings import ServeSettings, Tenant
from custodes.tls import server_context

__all__ = ["matcher", "serve"]

MATCHER = (sys.executable, "-P", "-c", "from custodes.cli.serve import matcher; matcher()")


@click.group()
def serve() -> None:
    """Answer others' questions, hold or ok, with lists that they may not hold."""


@serve.command("match")
@click.option("--check", is_flag=True, help="Check configuration, lists and jail, and exit.")
@click.option("--unsafe-plain-http", is_flag=True, help="Listen beyond loopback without TLS: a proxy must encrypt.")
@click.option("--unsafe-no-jail", is_flag=True, help="Decode without confinement where the kernel has none.")
@config_option
@json_option
def match(config: str | None, *, check: bool, unsafe_plain_http: bool, unsafe_no_jail: bool, json_: bool) -> int:
    """Serve until stopped. SIGHUP looks for new versions of the lists at once.

    Says on standard output where it listens; everything else goes to standard error.
    """
    keep_secrets()
    site = load_site(config)
    hello = FrontHello(front_settings(site, unsafe_plain_http), site.config.image, -1, unsafe_no_jail)
    checked(site, hello)
    if check:
        tell_ready(site, Listening(hello.settings.port, hello.settings.metrics_port), "checked", json_=json_)
        return ExitCode.NOTHING_FOUND
    service = Service(
        MATCHER, str(site.path), site.lists().current, hello, lambda what: click.echo(f"custodes: {what}", err=True)
    )
    try:
        with exclusive(site.serve_state / "service", wait=False):
            Keeper(service).run(lambda listening: tell_ready(site, listening, "listening", json_=json_))
    except BlockingIOError:
        raise ConfigError("a match service of this configuration is running already", hint="stop it first") from None
    return ExitCode.NOTHING_FOUND


def front_settings(site: Site, unsafe_plain_http: bool) -> ServeSettings:
    """The settings with files as absolute paths. Raises ConfigError for a service that nobody could use, or anybody read along with."""
    settings = site.config.serve
    if not settings.tenants:
        raise ConfigError(f"{site.path} names no tenant", hint="make one with: custodes serve key NAME")
    if not settings.loopback and not settings.tls_certificate and not unsafe_plain_http:
        raise ConfigError(
            f"{settings.host} can be reached from outside, and there is no TLS",
            hint="set tls_certificate and tls_key, or --unsafe-plain-http behind a proxy that encrypts",
        )
    home = site.path.parent
    files = {name: str(home / value) for name in ("tls_certificate", "tls_key") if (value := getattr(settings, name))}
    return msgspec.structs.replace(settings, **files)


def checked(site: Site, hello: FrontHello) -> None:
    """Everything that can be refused before the first request: no authority, no list, no certificate, no jail."""
    site.recipients()
    server_context(hello.settings.tls_certificate, hello.settings.tls_key)
    site.lists_used()
    confinement_of(site.scan_settings(unsafe_no_jail=hello.unsafe_no_jail))


def tell_ready(site: Site, listening: Listening, word: str, *, json_: bool) -> None:
    """One line."""
    settings = site.config.serve
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{'https' if settings.tls_certificate else 'http'}://{host}:{listening.port}"
    if json_:
        as_json({word: address, "tenants": len(settings.tenants), "metrics_port": listening.metrics_port})
    else:
        click.echo(f"{word}: {address}, {len(settings.tenants)} tenants")


@serve.command("key")
@click.argument("name")
@config_option
@json_option
def key(name: str, config: str | None, *, json_: bool) -> int:
    """Make a key for the tenant NAME: printed once, for the tenant; its digest goes into the configuration."""
    there = load_site(config).config.serve.tenants if config is not None else ()
    secret, digest = new_key(name, lambda digest: ServeSettings(tenants={name: Tenant(key_sha256=digest)}), there)
    if json_:
        as_json({"name": name, "key": secret, "key_sha256": digest})
        return ExitCode.NOTHING_FOUND
    click.echo("The key, for the tenant alone. It is stored nowhere and is not shown again:", err=True)
    click.echo(secret)
    click.echo("For the configuration:", err=True)
    click.echo(f'[serve.tenants.{name}]\nkey_sha256 = "{digest}"\n#trusted_digests = false')
    return ExitCode.NOTHING_FOUND


@serve.command("unlock")
@click.argument("name")
@config_option
@json_option
def unlock(name: str, config: str | None, *, json_: bool) -> int:
    """Unlock the tenant NAME, which was locked for asking too often around one match. Find out first why it did."""
    site = load_site(config)
    if name not in site.config.serve.tenants:
        raise InputError(
            f"there is no tenant {name!r}", hint=f"tenants: {', '.join(site.config.serve.tenants) or 'none'}"
        )
    ask_unlock(site.serve_state, name)
    if json_:
        as_json({"unlocked": name})
    else:
        click.echo(f"{name} is unlocked with its next request")
    return ExitCode.NOTHING_FOUND


def matcher() -> None:
    """Entry point of the matcher process, which the keeper starts. Standard output carries one frame: that all lists are loaded."""
    sys.excepthook = tell_crash
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the keeper's to hear
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    keep_secrets()
    hello = receive(0, Frames(MatcherHello), [])
    if not isinstance(hello, MatcherHello):
        return
    try:
        site = load_site(hello.config)
        judge = site.judge(hello.versions)
        send(1, Ready())
        with exclusive(site.serve_state / "asked"):
            answer_all(judge, hello.channel)
    except CustodesError as error:
        sys.stderr.write(
            f"custodes: the matcher has ended: {error}\n" + (f"  hint: {error.hint}\n" if error.hint else "")
        )
        sys.exit(int(error.exit_code))
