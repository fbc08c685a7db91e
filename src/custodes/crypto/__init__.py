"""All cryptography, in one place to audit: key files, sealing to an authority, encryption at rest.

Nothing outside this package imports ``cryptography`` or ``pyrage``. Foreign errors become ours here. What is decided
elsewhere: which key a process may hold, and where ciphertext is kept.
"""
