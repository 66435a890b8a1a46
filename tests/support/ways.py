"""In what surroundings tests run: over which transport, and in which local time.

`make lean` runs whole harvests over the other way: TEST_TRANSPORT=lean makes them use that
transport; TEST_TLS=1 has simulators speak https, and they trust their authority by SSL_CERT_FILE,
as a user's would be trusted.

Local time is never UTC's (tests/conftest.py sets it for all processes): where the product took it
for UTC, dates would differ for half of each day.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

TIME_ZONE = "Pacific/Auckland"
TRANSPORT = os.environ.get("TEST_TRANSPORT", "aiohttp")


@cache
def certificate() -> Path | None:
    """Key and certificate of 127.0.0.1 as one PEM file; None where plain http is spoken."""
    if os.environ.get("TEST_TLS") != "1":
        return None
    import trustme

    authority = trustme.CA()
    folder = Path(tempfile.mkdtemp(prefix="cdr-tls-"))
    trusted, own = folder / "authority.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(trusted)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(own)
    os.environ["SSL_CERT_FILE"] = str(trusted)
    return own
