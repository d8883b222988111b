"""What the system, the network and TLS say when they fail, in our words."""

from __future__ import annotations

import errno
import socket
import ssl

_LACKS = {
    errno.EMFILE: "no file descriptor is left",
    errno.ENFILE: "no file descriptor is left on this machine",
    errno.EADDRNOTAVAIL: "no local port is left",
    errno.ENOBUFS: "no memory is left for a connection",
    errno.ENOMEM: "no memory is left for a connection",
}


def lack(error: Exception) -> str:
    """What we have none of, by a few words; "" where *error* says no such thing, and may be the other side's."""
    return _LACKS.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def fault(error: Exception) -> str:
    """A few words on *error*; "" where it is none that is known here."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}"
        case socket.gaierror():
            return f"name not resolved: {error.strerror}"
        case ConnectionRefusedError():
            return "connection refused"
    return ""
