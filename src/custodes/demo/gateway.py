"""What ``custodes gateway --demo`` stands on: a site whose list knows one picture of the stand-in generator, and a detector that needs no model.

Promises that nothing leaves loopback, that all words and pictures are harmless stand-ins, and that everything else is the gateway as it always is: the same
screening, rules, jail, ledger and sealed evidence. The generator is in ``generator``.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from custodes.config import CONFIG_NAME, Site, create_site, load_site
from custodes.decoding import Recipe
from custodes.demo.generator.drawing import PINK, planted
from custodes.demo.generator.server import listening
from custodes.demo.generator.studio import Studio
from custodes.demo.plain_pdq import forms
from custodes.errors import ExitCode, WorldError
from custodes.gateway.inspection.detectors import Detector
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from custodes.pictures import Pixels
from custodes.similar.models import Card

__all__ = ["DEMO_KEY", "DEMO_MODEL", "Pink", "demo_site", "demonstration"]

DEMO_KEY: Final = "demo"
DEMO_MODEL: Final = "demo"
_SETTINGS: Final = """
[gateway]
port = 0
policy = "demo"
lexicons = ["starter", "standins"]

[gateway.upstream]
address = "{address}"
speaks = ["openai", "a1111", "comfyui", "huggingface", "litellm"]
models = ["{model}"]
fields = ["negative_prompt"]

[gateway.tenants.demo]
key_sha256 = "{key}"
requests_per_minute = 1_000_000
images_per_day = 1_000_000

# One key for whoever tries it out: only end users that requests name are slowed and suspended.
[gateway.strikes]
tenant_warn_at = 999_999_999
tenant_suspend_at = 1_000_000_000

[gateway.probing]
tenant_free = 1_000_000_000
"""
_SIDE: Final = 16


async def demonstration(home: Path, serve: Callable[[Site, Sequence[Detector]], Awaitable[None]]) -> int:
    """A generator on loopback, and what ``serve`` makes of a new site in front of it."""
    async with listening(Studio()) as address:
        await serve(demo_site(home, address), [Pink()])
    return ExitCode.NOTHING_FOUND


def demo_site(home: Path, address: str) -> Site:
    """A new site in a directory: a throw-away authority, a list of one entry, a gateway in front of the generator at ``address``."""
    create_site(home, [], demo=True)
    config = home / CONFIG_NAME
    key = hashlib.sha256(DEMO_KEY.encode()).hexdigest()
    text = config.read_text(encoding="utf-8")
    text = text.partition("\n[gateway]")[0]  # ours in place of the commented defaults, which stand last
    config.write_text(text + _SETTINGS.format(address=address, model=DEMO_MODEL, key=key), encoding="utf-8")
    site = load_site(str(config))
    code, _ = forms(planted())
    entry = Entry(Kind.PDQ, code[0].tobytes(), "planted")
    site.lists().import_entries("demo", [entry], Provenance(source="the demonstration", scheme="demo"))
    return site


class Pink:
    """The demonstration's detector: its score is the share of one pink. It stands where a model stands, and says nothing of anything."""

    name = "pink@1"
    fact = "explicit"
    recipe = Recipe(side=_SIDE, resize=_SIDE, fit="stretch")
    card = Card(
        name="pink",
        title="the share of one colour",
        origin="this package",
        source="custodes.demo.gateway",
        licence="Apache-2.0",
        training_data="none: it counts pixels",
        as_of=datetime.date(2026, 11, 23),
        recipe=recipe,
    )

    async def score(self, squares: Sequence[Pixels]) -> float:
        """The greatest share of pink in any of the squares."""
        if not squares:
            raise WorldError("the detector was shown nothing")
        near = [np.abs(square.astype(np.int16) - np.array(PINK, np.int16)).max(axis=-1) < 24 for square in squares]
        return max(float(each.mean()) for each in near)
