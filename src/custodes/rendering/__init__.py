"""Renderings of cards: a page, plain text, and sections for other people's documents. All of them are made of the same verified bytes."""
