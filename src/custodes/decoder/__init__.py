"""What is done to the bytes of an image, all of it inside the jail: guarded decoding, digests of every frame, copies without metadata, squares for models.

Promises that whatever the bytes are, the answer says how far it came. Only ``zygote`` is run, as a process of its own, by ``jail``. What a decoder is told and
answers is in ``decoding`` and ``viewing``, which load no image code.
"""
