"""The embedded example as a job: everything that ``custodes demo`` needs, on loopback and in one directory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from custodes.config import CONFIG_NAME, create_site, load_site
from custodes.demo.gallery import PICTURES, SEED, paint
from custodes.demo.links import DemoSettings, build
from custodes.demo.server import DemoServer
from custodes.jobs import Job, ScanRequest, prepare_scan
from custodes.lists.container import Provenance
from custodes.lists.formats import read_entries

__all__ = ["demo_job"]

FETCH: Final = {"connect_timeout_s": 2.0, "total_timeout_s": 6.0, "slow_for_s": 2, "per_host": 64}
"""Time limits are shorter than usual, because nothing is far away and one link in a hundred hangs; and all links are on one host."""


@contextmanager
def demo_job(home: Path, *, rows: int) -> Iterator[Job]:
    """The embedded example, ready to be scanned: a site with a throw-away authority, a web server on loopback, a table of links, a list."""
    create_site(home, [], demo=True)
    config = home / CONFIG_NAME
    config.write_text(with_settings(config.read_text(encoding="utf-8")), encoding="utf-8")
    site = load_site(str(config))
    gallery = paint(PICTURES, SEED)
    with DemoServer(gallery.pictures) as server:
        example = build(home / "dataset", gallery, server.site, DemoSettings(rows=rows))
        provenance = Provenance(source=example.hashes.name, scheme="demo")
        site.lists().import_entries("demo", read_entries(example.hashes), provenance)
        settings = site.scan_settings(unsafe_allow_loopback=True)
        yield prepare_scan(site, ScanRequest(source=str(example.links), run=home / "run", settings=settings))


def with_settings(text: str) -> str:
    """A configuration with ``FETCH`` in the place of the commented defaults."""
    for name, value in FETCH.items():
        text, replaced = re.subn(rf"^#{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert replaced == 1, name
    return text
