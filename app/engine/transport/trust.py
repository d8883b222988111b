"""Whom we trust: one SSLContext per trust setting, for it takes 30 ms and more to make one."""

from __future__ import annotations

import ssl
from functools import cache

from settings.pools import BackendTlsSettings


@cache
def context(tls: BackendTlsSettings) -> ssl.SSLContext:
    """The context for connections to backends: TLS 1.2 or later, verified by the system's store or by *tls.ca*.

    Raises:
        OSError, ssl.SSLError: when the file of authorities cannot be read.
    """
    made = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
