"""Cards: signed statements of what was examined, and their verification."""
