"""How the vendor's certificate is checked: by the system's authorities, and always."""

from __future__ import annotations

import ssl


def system_trust() -> ssl.SSLContext:
    """Checks certificate and name; SSL_CERT_FILE and SSL_CERT_DIR name other authorities.

    As `ssl.create_default_context` makes it, but without a log of the session's keys: whoever can
    set SSLKEYLOGFILE could read the signed headers and the records off the wire.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context
