"""A gateway as a process of its own: what it withholds waits to be sent by itself, and is sent when the gateway is long dead."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.config import Site, load_site
from custodes.demo.gateway import demo_site
from custodes.demo.generator.server import listening as drawing
from custodes.demo.generator.studio import Studio
from custodes.gateway.evidence import open_withheld
from custodes.handover.parcel import SEALED_SUFFIX
from custodes.office import Office
from custodes.withheld import unqueued
from tests.gateway.clients import ask, size_of
from tests.gateway.soak.load import Process
from tests.handover.making import TO

SETTINGS = f"""
[gateway.evidence]
hand_over = true
route = "hotline.north"

[handover.hotline.north]
title = "Example Hotline"
recipients = ["{TO}"]
"""


async def withheld_by(home: Path) -> Site:
    """A site whose gateway withheld one picture, took it up by itself, and was killed."""
    async with drawing(Studio()) as address:
        site = demo_site(home, address)
        site.path.write_text(site.path.read_text() + SETTINGS)
        gateway = Process(site.path)
        await gateway.start()
        try:
            heard = await ask("openai", gateway.url, "a lighthouse", wait_s=30.0)
            assert heard.pictures == []
            until = time.monotonic() + 30
            while not waits(site) and time.monotonic() < until:
                await asyncio.sleep(0.05)
        finally:
            await gateway.kill()
            gateway.close()
    return load_site(str(site.path))


def waits(site: Site) -> bool:
    return unqueued(site) == 0 and len(Office(site).outbox.survey().items) == 1


def test_what_a_gateway_withholds_waits_by_itself_and_is_sent_after_its_death(tmp_path: Path) -> None:
    site = asyncio.run(withheld_by(tmp_path / "site"))
    assert waits(site)
    argv = ["handover", "send", "--route", "hotline.north", "--config", str(site.path)]
    assert CliRunner().invoke(cli, argv, catch_exceptions=False, standalone_mode=False).return_value == 0
    (sealed,) = (site.home / "outgoing").glob(f"*{SEALED_SUFFIX}")
    told = open_withheld(sealed.read_bytes(), (site.home / "demo-authority.key").read_text())
    assert told.file is not None
    assert (size_of(told.file.content), told.file.generated, told.demo) == ((64, 64), True, True)
