"""A kernel without Landlock, for every process of a scan. Tests put this folder on PYTHONPATH; nothing else does."""

from custodes import confine

confine.landlock_abi = lambda: 0
