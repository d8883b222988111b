"""Certificates that an authority issues and renews by itself (ACME, RFC 8555)."""
