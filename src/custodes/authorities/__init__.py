"""Authorities' services: where lists come from over the network, and where feedback on their entries goes.

Each module speaks one published protocol (``Authority`` in ``base``); ``calls`` is the only client; ``sync`` walks an authority's pages
into the store, so that it may stop anywhere and go on. What an entry means is for ``lists.meaning``; what is kept, for ``lists.store``.
"""
