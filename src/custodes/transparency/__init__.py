"""A transparency log: a list that only grows, as static files that anybody can check, under checkpoints that witnesses sign."""
