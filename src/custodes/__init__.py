"""custodes: screen image datasets and generators against the hash lists that authorities keep.

Import what you need from its module (``from custodes.lists.store import ListStore``); the package root holds only the version.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
