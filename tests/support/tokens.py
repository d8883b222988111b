"""An issuer of tokens: its keys, and the tokens that it signs."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example.org/"
SECRET = "a secret that is over thirty-two characters long"


class Issuer:
    """Signs with one key of each kind."""

    def __init__(self, suffix: str = "") -> None:
        self.keys: dict[str, Any] = {
            "RS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        self.names = {algorithm: f"{algorithm}{suffix}" for algorithm in self.keys}

    def jwks(self) -> bytes:
        """The set of its public keys, and one that nobody can use."""
        kinds: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
        keys = [
            json.loads(kinds[algorithm].to_jwk(key.public_key())) | {"kid": self.names[algorithm], "use": "sig"}
            for algorithm, key in self.keys.items()
        ]
        return json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}, *keys]}).encode()

    def pem(self, algorithm: str = "RS256") -> bytes:
        """One public key."""
        text: bytes = self.keys[algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return text

    def token(self, algorithm: str = "RS256", head: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token, but for what *claims* and *head* change; None leaves out."""
        said = {"iss": ISSUER, "aud": "api", "sub": "alice", "exp": int(time.time()) + 600} | claims
        said = {name: value for name, value in said.items() if value is not None}
        kid = {"kid": self.names[algorithm]} | (head or {})
        kid = {name: value for name, value in kid.items() if value is not None}
        return jwt.encode(said, self.keys[algorithm], algorithm=algorithm, headers=kid)
