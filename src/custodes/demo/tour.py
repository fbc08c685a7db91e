"""Shows the gateway to somebody: the ``openai`` client in front of ``custodes gateway --demo``, and what becomes of four requests. ``make demo`` runs it.

Promises that every request is made by the client as it is sold, over HTTP, to a gateway in a process of its own. Needs the package ``openai``, which custodes
itself does not.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import openai

from custodes.demo.gateway import DEMO_KEY, DEMO_MODEL
from custodes.gateway.evidence import open_withheld, withheld_files

__all__ = ["tour"]

ASKED: Final = (
    ("passed", "a small boat on a lake"),
    ("rewritten", "a fountain in a park"),
    ("refused", "an umbrella in a garden"),
    ("withheld", "a lighthouse at night"),
)
"""What should become of each."""


def tour(home: Path) -> bool:
    """Ask for four pictures and tell what came. Whether all went as it should."""
    with standing(home) as address:
        print(f"the gateway listens on {address}; the openai client asks, with the key {DEMO_KEY!r}:\n")
        with openai.OpenAI(base_url=f"{address}/v1", api_key=DEMO_KEY) as client:
            became = [shown(client, prompt, home) for _, prompt in ASKED]
    sealed = withheld_files(home / "site" / "state" / "gateway" / "withheld")
    for path in sealed:
        found = open_withheld(path.read_bytes(), (home / "site" / "demo-authority.key").read_text(encoding="utf-8"))
        size, digest = len(found.file.content) if found.file else 0, found.digests["sha256"]
        print(f"\nsealed     {path}")
        print("           nobody here can open it; the demo authority's key opens it:")
        print(f"           an image of {size:,} bytes, SHA-256 {digest[:16]}…, to {found.decision}")
    return became == [what for what, _ in ASKED] and len(sealed) == 1


def shown(client: openai.OpenAI, prompt: str, home: Path) -> str:
    """Ask once, tell what came, and say in a word what it was."""
    try:
        made = client.images.generate(model=DEMO_MODEL, prompt=prompt, size="512x512")
    except openai.BadRequestError as error:
        details = error.body.get("moderation_details", {}) if isinstance(error.body, dict) else {}
        stage = details.get("moderation_stage")
        became = "withheld" if stage == "output" else "refused"
        told(became, prompt, f"{error.status_code} {error.code}, stage {stage}, categories {details.get('categories')}")
        return became
    image = (made.data or [])[0]
    content = base64.b64decode(image.b64_json or "")
    became = "rewritten" if image.revised_prompt else "passed"
    file = home / f"{became}.png"
    file.write_bytes(content)
    drawn = f"drawn as {image.revised_prompt!r}, " if image.revised_prompt else ""
    told(became, prompt, f"{drawn}{len(content):,} bytes in {file}")
    return became


def told(became: str, prompt: str, what: str) -> None:
    print(f"{became:<10} {prompt:<26} {what}")


@contextmanager
def standing(home: Path) -> Iterator[str]:
    """The demonstration's address, while it runs. What it logs stands in ``gateway.log``."""
    argv = [sys.executable, "-m", "custodes.cli.main", "gateway", "--demo", "--listen", "127.0.0.1:0", "--json"]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "gateway.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, constant arguments
            [*argv, "--dir", str(home / "site")], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                sys.exit(f"the gateway did not start: see {home / 'gateway.log'}")
            yield str(json.loads(line)["listening"])
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def main() -> None:
    """The tour, in a directory that is not there yet."""
    parser = argparse.ArgumentParser(description="Show the gateway with the openai client.")
    parser.add_argument("--dir", type=Path, required=True, help="where to leave everything")
    sys.exit(0 if tour(parser.parse_args().dir) else 1)


if __name__ == "__main__":
    main()
