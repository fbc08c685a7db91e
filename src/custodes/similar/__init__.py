"""Similar photos: vectors that ship with a dataset, and which of them lie near given ones.

``vectors`` finds and reads them, ``arithmetic`` compares, ``neighbours`` keeps the nearest, ``search`` is the whole job, resumable.
"""
