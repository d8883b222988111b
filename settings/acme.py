"""Certificates that an authority issues and renews by itself (ACME, RFC 8555)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from settings.models import File, Frozen, Listed
from settings.problems import Wrong
from settings.units import Duration

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _domain(value: str) -> str:
    name = value.lower().removesuffix(".")
    if name.startswith("*."):
        raise Wrong("a wildcard cannot be proved by HTTP-01", "write each name, such as www.example.org")
    if len(name) > 253 or not re.fullmatch(rf"(?:{_LABEL}\.)+{_LABEL}", name) or re.fullmatch(r"[0-9.]+", name):
        raise Wrong("not a DNS name", "write one such as www.example.org; others than ASCII as xn--...")
    return name


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _directory(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname:
        raise Wrong("not an https:// URL", 'write that of the directory, such as "https://acme.example.org/directory"')
    return value


def _email(value: str) -> str:
    if value and not re.fullmatch(r"[^@\s,?]+@[^@\s,?]+", value):
        raise Wrong("not an address", "write one such as admin@example.org, or leave it out")
    return value


class AcmeSettings(Frozen):
    """Certificates by ACME with HTTP-01: the authority asks for a token on port 80 of each domain; `l7lb[acme]`."""

    domains: Annotated[Listed[Annotated[str, AfterValidator(_domain)]], AfterValidator(_once)] = ()
    """DNS names; each gets a certificate of its own. None is off."""
    directory: Annotated[str, AfterValidator(_directory)] = "https://acme-v02.api.letsencrypt.org/directory"
    """URL of the authority's directory."""
    ca: File = None
    """PEM file of the authorities that the directory itself is trusted by; those of certifi when not given."""
    email: Annotated[str, AfterValidator(_email)] = ""
    """Where the authority may write to."""
    agree: bool = False
    """Whether you agree to the authority's terms of service, which its directory names; nothing is ordered without."""
    storage: File = None
    """Directory for the account's key, the certificates and the tokens; the processes that serve a domain share it."""
    renew_before: Duration = 0.0
    """How long before its end a certificate is renewed; 0 is a third of the time that it is valid for. At most two."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.domains and self.storage is None:
            raise Wrong("there is nowhere to keep certificates", "write the path of a directory", at=("storage",))
        if self.domains and not self.agree:
            fix = "read them, and write true"
            raise Wrong("nobody has agreed to the authority's terms of service", fix, at=("agree",))
        return self

    @property
    def room(self) -> Path:
        """Where what this authority has issued is kept: a certificate of one for trials is not taken for another's."""
        assert self.storage is not None
        digest = hashlib.blake2b(self.directory.encode(), digest_size=4).hexdigest()
        return self.storage / f"{urlsplit(self.directory).hostname}-{digest}"

    @property
    def challenges(self) -> Path:
        """Where the tokens are while an order is under way."""
        assert self.storage is not None
        return self.storage / "challenges"

    def file(self, domain: str) -> Path:
        """The key and the certificate chain of *domain*, in one PEM file."""
        return self.room / f"{domain}.pem"
