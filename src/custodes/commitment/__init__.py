"""A card's commitment to the outcome of each row: the tree, proofs out of it, and the auditor's challenge."""
