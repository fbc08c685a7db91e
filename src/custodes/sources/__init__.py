"""Where items come from: tables of links and containers of images. Types in ``base``; the four verbs in ``source``."""
