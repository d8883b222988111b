"""What the network and TLS say when they fail, in our words."""

from __future__ import annotations

import socket
import ssl


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
