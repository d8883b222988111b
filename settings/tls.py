"""TLS towards the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from settings.acme import AcmeSettings
from settings.models import File, Frozen, Listed
from settings.problems import Wrong
from settings.units import Duration


class CertificateSettings(Frozen):
    """One certificate: `a.pem`, or `a.pem|key=a.key`."""

    cert: Path
    """PEM file of its chain."""
    key: File = None
    """PEM file of the key; in the certificate's file when not given."""

    @model_validator(mode="before")
    @classmethod
    def _from_line(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        cert, *options = (part.strip() for part in value.split("|"))
        if not cert or len(options) > 1 or (options and not options[0].startswith("key=")):
            raise Wrong("not a certificate", 'write "a.pem", or "a.pem|key=a.key"')
        return {"cert": cert, "key": options[0].removeprefix("key=") if options else None}


class ClientCertificateSettings(Frozen):
    """Certificates of clients (mutual TLS)."""

    ca: File = None
    """PEM file of the authorities whose clients are known; no client is asked for a certificate without it."""
    mode: Literal["required", "optional"] = "required"
    """optional: who has none comes in all the same, without the fields; who shows a wrong one never does."""
    chain: bool = False
    """Whether backends are told the certificates between the client's and the authority's, too, as `Client-Cert-Chain`.
    Clients get no tickets then, since a session that is resumed has none."""


class TlsSettings(Frozen):
    """The first certificate is given to uvicorn, or to `l7lb serve`."""

    certificates: Listed[CertificateSettings] = ()
    """More certificates, each served to the clients that ask for a name in it (SNI)."""
    sni: Literal["default", "strict"] = "default"
    """What a client gets that asks for a name in none of them, or for none: the first certificate, or no connection."""
    client: ClientCertificateSettings = ClientCertificateSettings()
    """Certificates of clients."""
    acme: AcmeSettings = AcmeSettings()
    """Certificates that an authority issues and renews by itself."""
    reload_interval: Duration = 2.0
    """How often the certificate files are looked at; 0 never."""
    handshake_timeout: Duration = 5.0
    """How long a TLS handshake may take, under `l7lb serve`."""
    hsts: Duration = 0.0
    """max-age of `Strict-Transport-Security` on responses over TLS; 0 leaves it out."""
    hsts_subdomains: bool = False
    """Whether it is meant for all subdomains, too."""

    @model_validator(mode="after")
    def _looked_at(self) -> Self:
        if self.acme.domains and not self.reload_interval:
            fix = 'write one such as "2s", or leave it out'
            raise Wrong("certificates by acme are renewed, and never looked at", fix, at=("reload_interval",))
        return self

    @property
    def served(self) -> tuple[CertificateSettings, ...]:
        """Those of `certificates`, and those by ACME."""
        by_acme = (CertificateSettings(cert=self.acme.file(domain)) for domain in self.acme.domains)
        return (*self.certificates, *by_acme)
