"""Carriers that begin and dial whatever they like. Tests put this folder on PYTHONPATH; nothing else does."""

import sys

if "custodes.carrier.process" in sys.orig_argv:
    from custodes.net import permits

    permits.Permits.slots = permits.Permits.ceiling = lambda *_: 256
