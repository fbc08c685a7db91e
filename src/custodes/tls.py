"""TLS of servers of ours: a certificate and its key from files. Whether a server needs one is for whoever starts it."""

from __future__ import annotations

import ssl
from pathlib import Path

from custodes.errors import ConfigError

__all__ = ["server_context"]


def server_context(certificate: str, key: str, home: Path = Path()) -> ssl.SSLContext | None:
    """TLS 1.2 and later with these PEM files, by their paths below ``home``; None where no certificate is named. Raises ConfigError."""
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(
            home / certificate, home / key, password=""
        )  # a key with a password is refused, not asked for
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "tls_certificate and tls_key cannot be loaded", hint="PEM files, readable, that belong together"
        ) from error
    return context
