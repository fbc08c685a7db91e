"""The demonstration: harmless pictures, a table of links that die in every way links die, and a list that knows some of
them.

``corpus`` paints, ``gallery`` chooses what is planted, ``server`` misbehaves as the web does, ``links`` writes the
table, the list and the truth.
"""
