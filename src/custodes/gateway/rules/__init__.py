"""Facts to verdicts: policies as typed, dated data, what they decide, rewriting, and what a change of them would change."""
