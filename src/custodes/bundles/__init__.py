"""Lists that one site publishes for others: sealed to those who may hold them, signed under TUF, served as plain files.

``target`` is what both ends agree on; ``roots`` are the keys that everything rests on; ``repository`` is the publisher's folder. The
subscriber is an authority like others (``authorities.bundle``). Who may be given a list is for people to decide.
"""

import logging

# TUF's reference implementation tells its steps, addresses among them, to whoever listens to all logs.
for _name in ("tuf", "securesystemslib"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False
