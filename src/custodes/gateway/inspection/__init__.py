"""Images of the gateway: bytes to facts, and to what may be released."""
