"""Similar photos: vectors that ship with a dataset, and which of them lie near given ones.

``vectors`` finds and reads them, ``arithmetic`` compares, ``neighbours`` keeps the nearest, ``search`` is the whole job, resumable.
``probe`` learns from verdicts on rows whose vectors ``lesson`` takes, ``measure`` says how well, ``curve`` draws it, ``versions`` keeps it.
"""
