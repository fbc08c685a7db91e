"""A link that kills whatever process fetches it. Tests put this folder on PYTHONPATH; nothing else does."""

import os
import sys

if "custodes.carrier.process" in sys.orig_argv:
    from custodes import net

    real = net.Fetcher.add

    def add(self, name, url, batch):  # type: ignore[no-untyped-def]
        if "poison" in url:
            os._exit(9)
        return real(self, name, url, batch)

    net.Fetcher.add = add
