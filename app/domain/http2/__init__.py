"""HTTP/2 as bytes: frames (RFC 9113 section 4), field compression (RFC 7541), heads (RFC 9113 section 8)."""
