"""TLS towards the client."""

from __future__ import annotations

from settings.models import Frozen
from settings.units import Duration


class TlsSettings(Frozen):
    """The certificate itself is given to uvicorn, or to `l7lb serve`."""

    reload_interval: Duration = 2.0
    """How often the certificate files are looked at; 0 never."""
    handshake_timeout: Duration = 5.0
    """How long a TLS handshake may take, under `l7lb serve`."""
    hsts: Duration = 0.0
    """max-age of `Strict-Transport-Security` on responses over TLS; 0 leaves it out."""
    hsts_subdomains: bool = False
    """Whether it is meant for all subdomains, too."""
