"""A stand-in for an image generator: it draws harmless pictures of the words it is given, in every dialect that the gateway speaks, and leaks as generators do.

``drawing`` paints, ``studio`` holds the knobs and misbehaves as told, one module speaks each dialect, ``server`` is all of them on one port.
"""
