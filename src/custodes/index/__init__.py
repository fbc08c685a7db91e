"""Search: which listed codes equal a query, and which lie within a Hamming radius of it.

Answers are complete and in a fixed order. The NumPy search is the oracle for the native kernels, and comparing everything with everything is the oracle
for both. Codes and numbers only: what an entry means, and that an empty list is refused, is for the caller.
"""

from custodes.index.exact import ExactIndex, ExactMatches
from custodes.index.hamming import HAMMING_RADIUS_MAX, HammingIndex, HammingMatches

__all__ = ["HAMMING_RADIUS_MAX", "ExactIndex", "ExactMatches", "HammingIndex", "HammingMatches"]
