"""Screening of texts: what a lexicon's contexts are present, read in every way that a generator or its reader would."""
