"""Dialects: how each kind of client asks, and how it hears a no. What a dialect does not know by name is denied."""
