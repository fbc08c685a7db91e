"""Hash lists: reading what an authority gives, keeping it encrypted, matching digests against it.

No part of this package prints, logs or raises with the value of an entry. What a match means is for the policy.
"""
