"""The match service: one who may hold lists answers, coarsely, for many who may not.

Three processes. The keeper starts the others and holds nothing; the front (``front``, ``routes``, ``images``) speaks HTTP and has images decoded in
the jail; the matcher (``judge``, ``defence``) holds the lists and answers hold or ok. No distance, list or entry crosses between them.
"""
