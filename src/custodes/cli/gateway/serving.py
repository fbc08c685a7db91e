"""``custodes gateway`` without a further word: the guarded door itself, and the demonstration of it."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import click
import msgspec
from aiohttp import web

from custodes.cli.options import as_json
from custodes.config import Site, load_site
from custodes.confine import keep_secrets
from custodes.durable import exclusive, make_folder
from custodes.errors import ConfigError, CustodesError, ExitCode, InputError, WorldError
from custodes.gatehouse import Standing, checked, equipment_of, standing
from custodes.gateway.app import Answered
from custodes.gateway.inspection.detectors import Detector
from custodes.gateway.settings import GatewaySettings
from custodes.jobs import confinement_of
from custodes.tls import server_context
from custodes.withheld import Handing

__all__ = ["check_only", "guard", "heard_site", "show"]


def show(directory: Path | None, listen: str | None, *, json_: bool) -> int:
    """The demonstration, until a signal."""
    keep_secrets()
    # Loaded only here: it draws pictures.
    from custodes.demo.gateway import demonstration  # noqa: PLC0415

    home = directory or Path(tempfile.mkdtemp(prefix="custodes-gateway-"))
    return asyncio.run(demonstration(home, lambda site, looks: run(heard(site, listen, True), looks, json_=json_)))


def heard_site(config: str | None, listen: str | None, unsafe_plain_http: bool) -> Site:
    """The site that is configured, as it will listen, with all that a gateway needs."""
    keep_secrets()
    site = heard(load_site(config), listen, unsafe_plain_http)
    checked(site)
    return site


def check_only(site: Site, *, json_: bool) -> int:
    """Try the certificate, lists, detector, register and jail too, and say that all is there. Nothing is written."""
    tls_of(site)
    equipment_of(site, site.config.gateway)
    confinement_of(site.scan_settings())
    said("checked", site, site.config.gateway.port, json_=json_)
    return ExitCode.NOTHING_FOUND


def guard(site: Site, *, json_: bool) -> int:
    """Serve, alone, until a signal."""
    state = site.home / site.config.gateway.state
    make_folder(state)
    try:
        with exclusive(state / "service", wait=False):
            asyncio.run(run(site, json_=json_))
    except BlockingIOError:
        raise ConfigError("a gateway of this configuration is running already", hint="stop it first") from None
    return ExitCode.NOTHING_FOUND


def heard(site: Site, listen: str | None, unsafe_plain_http: bool) -> Site:
    """The site, listening where it is told to. Raises ConfigError for a gateway that anybody could read along with."""
    settings = site.config.gateway
    if listen is not None:
        host, _, port = listen.rpartition(":")
        try:
            settings = msgspec.convert(
                msgspec.to_builtins(settings) | {"host": host.strip("[]"), "port": int(port)}, GatewaySettings
            )
        except (ValueError, msgspec.ValidationError) as error:
            raise InputError(f"--listen {listen!r} is not HOST:PORT", hint="for example 127.0.0.1:8744") from error
    if not settings.loopback and not settings.tls_certificate and not unsafe_plain_http:
        raise ConfigError(
            f"{settings.host} can be reached from outside, and there is no TLS",
            hint="set tls_certificate and tls_key, or --unsafe-plain-http behind a proxy that encrypts",
        )
    return Site(site.path, msgspec.structs.replace(site.config, gateway=settings))


async def run(site: Site, detectors: Sequence[Detector] = (), *, json_: bool) -> None:
    """Serve until a signal. Lists are looked for again and again."""
    settings = site.config.gateway
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    async with AsyncExitStack() as stack:
        stood = await stack.enter_async_context(standing(site, log_line, detectors))
        port = await served(stack, stood.gateway.runner(), (settings.host, settings.port), tls_of(site))
        if settings.metrics_port:
            inner = web.Application()
            inner.router.add_get("/metrics", stood.metrics.handle)
            runner = web.AppRunner(inner, access_log=None)
            await served(stack, runner, ("127.0.0.1", settings.metrics_port), None)
        said("listening", site, port, json_=json_)
        beside = [asyncio.create_task(watch(stood, again))]
        if settings.evidence.hand_over:
            beside.append(asyncio.create_task(hand_over(stood.handing)))
        await stop.wait()
        for task in beside:
            task.cancel()
        await stood.drain()


async def watch(stood: Standing, again: asyncio.Event) -> None:
    """Look for new lists now and then, and for all that is new when told to."""
    while True:
        try:
            async with asyncio.timeout(stood.site.config.gateway.reload_s):
                await again.wait()
        except TimeoutError:
            pass
        asked = again.is_set()
        again.clear()
        try:
            site = load_site(str(stood.site.path)) if asked else stood.site
            if stood.reload(site, policy=asked):
                click.echo("custodes: lists and policy are taken anew", err=True)
        except CustodesError as error:  # what was in force stays in force
            click.echo(f"custodes: nothing was taken anew: {error}", err=True)


async def hand_over(handing: Handing) -> None:
    """Have what is withheld wait to be sent. Where that fails the gateway goes on: what was noted lies where it is, and is tried again."""
    handing.stirred.set()  # what an earlier one left
    told = ""
    while True:
        try:
            queued = await handing.taken()
            why = "; ".join(sorted(queued.refused))
        except CustodesError as error:
            why = str(error)
        if why and why != told:
            click.echo(f"custodes: what was withheld is not queued to be handed over: {why}", err=True)
        told = why


async def served(
    stack: AsyncExitStack, runner: web.AppRunner, where: tuple[str, int], tls: ssl.SSLContext | None
) -> int:
    """Listen. Returns the port. Raises WorldError."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, where[0], where[1], ssl_context=tls).start()
    except OSError as error:
        raise WorldError(f"cannot listen on port {where[1]} of {where[0]}: {error.strerror}") from error
    port: int = runner.addresses[0][1]
    return port


def tls_of(site: Site) -> ssl.SSLContext | None:
    """The gateway's certificate, loaded."""
    settings = site.config.gateway
    return server_context(settings.tls_certificate, settings.tls_key, site.home)


def log_line(line: Answered) -> None:
    """One JSON line on standard error, without content."""
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")


def said(word: str, site: Site, port: int, *, json_: bool) -> None:
    """One line."""
    settings = site.config.gateway
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{'https' if settings.tls_certificate else 'http'}://{host}:{port}"
    if json_:
        as_json({word: address, "tenants": len(settings.tenants), "policy": settings.policy})
    else:
        click.echo(f"{word}: {address}, policy {settings.policy}, {len(settings.tenants)} tenants")
    sys.stdout.flush()
