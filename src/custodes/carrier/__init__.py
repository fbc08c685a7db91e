"""The process that holds content in flight: it fetches or reads, digests, and has images decoded in the jail.

It knows URLs and bytes; it has no list, no key and no verdict, and may not write to any disk. ``custodes.carrier.client`` is the side of
the shard worker, ``custodes.carrier.process`` the process itself.
"""
