"""What backends and rules are told of a client's certificate, as fields of its requests; no client can write them.

`Client-Cert` and `Client-Cert-Chain` are those of RFC 9440; the others are for rules and for people:

    X-Client-Cert-Subject    the subject, as RFC 4514 writes it, in ASCII: `CN=alice,O=Example`
    X-Client-Cert-Names      `DNS:a.example.org, URI:spiffe://example.org/a`; what could be misread is written %2C
    X-Client-Cert-SHA256     of the whole certificate, 64 hexadecimal digits
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.headers import CLIENT_CERTIFICATE, Fields

_SHORT = {
    "commonName": "CN", "localityName": "L", "stateOrProvinceName": "ST", "organizationName": "O",
    "organizationalUnitName": "OU", "countryName": "C", "streetAddress": "STREET", "domainComponent": "DC",
    "userId": "UID",
}  # fmt: skip
_KINDS = {"DNS": "DNS", "URI": "URI", "email": "email", "IP Address": "IP"}
_ESCAPED = re.compile(r'^[ #]|[,+"\\<>;=]| $')
_UNSAFE = re.compile(rb"[^!#$&'()*+\-./0-9:;=?@A-Z\[\]_a-z~]")
_ALIKE = bytes.maketrans(b"_.", b"--")
"""What CGI and its heirs take for the same name."""


def described(der: bytes, told: Mapping[str, Any], chain: Sequence[bytes] = ()) -> Fields:
    """The fields for a verified certificate: *der*, and what `ssl.SSLSocket.getpeercert()` tells of it.

    *chain* is what it was verified by, each the issuer of the one before; without any there is no field for them.
    """
    fields = [(b"client-cert", _bytes(der))]
    if chain:
        fields.append((b"client-cert-chain", b", ".join(map(_bytes, chain))))
    if subject := _subject(told.get("subject", ())):
        fields.append((b"x-client-cert-subject", subject))
    if names := _names(told.get("subjectAltName", ())):
        fields.append((b"x-client-cert-names", names))
    fields.append((b"x-client-cert-sha256", hashlib.sha256(der).hexdigest().encode()))
    return fields


def certified(headers: Fields, fields: Fields) -> Fields:
    """*headers* of a request, with *fields* in place of what the client has written there.

    Nor can the client have ours taken out on the way: `Connection` does not list them (RFC 9110 section 7.6.1).
    """
    kept: Fields = []
    for name, value in headers:
        if name.translate(_ALIKE) in CLIENT_CERTIFICATE:
            continue
        if name == b"connection":
            tokens = [token.strip(b" \t") for token in value.split(b",")]
            rest = b", ".join(token for token in tokens if token.lower() not in CLIENT_CERTIFICATE)
            if rest:
                kept.append((name, rest))
        else:
            kept.append((name, value))
    return kept + fields


def _bytes(der: bytes) -> bytes:
    """RFC 8941 section 3.3.5."""
    return b":" + base64.b64encode(der) + b":"


def _subject(parts: Any) -> bytes:
    """RFC 4514 section 2: the last part first."""
    said = ["+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in part) for part in reversed(parts)]
    return ",".join(said).encode("ascii")


def _escape(value: str) -> str:
    text = _ESCAPED.sub(lambda found: "\\" + found[0], value)
    return "".join(
        letter if " " <= letter <= "~" else "".join(f"\\{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
        for letter in text
    )


def _names(names: Any) -> bytes:
    """Those of kinds that have one way to be written; "%" stands for itself nowhere, so that no two look the same."""
    return b", ".join(
        _KINDS[kind].encode()
        + b":"
        + _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], value.encode("utf-8", "surrogatepass"))
        for kind, value in names
        if kind in _KINDS
    )
