"""A model whose vectors have one number too many. Tests put this folder on PYTHONPATH; nothing else does."""

import sys

if "custodes.carrier.process" in sys.orig_argv:
    from custodes.carrier import embedding

    real = embedding.Embedding._vectors

    def vectors(self, squares):  # type: ignore[no-untyped-def]
        return [vector + b"\0\0" for vector in real(self, squares)]

    embedding.Embedding._vectors = vectors
