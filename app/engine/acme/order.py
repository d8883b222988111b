"""A program of its own that orders one certificate: `python -m app.engine.acme.order`, the order as JSON on its input.

So nothing of what it takes is loaded where requests are served, its work is on another core, and it can be ended at any
time. It exits with 0, or with 1 and a line of JSON that says why: `{"why": "...", "limited": false}`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from acme import challenges, crypto_util, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from app.engine.acme.files import write

SOON = timedelta(seconds=120)
"""How long the authority may take to look, and to issue."""
PATIENCE = 30
"""Seconds for one of its answers."""
TRIES = 4
"""Of two requests each, when it does not take their nonces."""


class Network(ClientNetwork):
    """The way to the authority; a nonce that it refuses is replaced more than once (RFC 8555 section 6.5)."""

    def post(self, *args: Any, **kwargs: Any) -> Any:
        """As the library's, which tries twice. Raises as that does."""
        for _ in range(TRIES - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


def order(domain: str, *, file: Path, tokens: Path, directory: str, ca: str | None, email: str) -> None:
    """Order a certificate of *domain*, and write it with its key to *file*; the tokens are in *tokens* meanwhile.

    Raises:
        acme.errors.Error, acme.messages.Error: the authority does not issue it.

        OSError, ValueError: it cannot be reached, or understood; requests' errors are OSErrors, too.
    """
    account = JWKEC(key=_account(file.with_name("account.pem")))
    trust: Any = ca or True  # requests takes a file, too; acme says bool
    network = Network(account, alg=ES256, verify_ssl=trust, user_agent="l7lb", timeout=PATIENCE)
    client = ClientV2(ClientV2.get_directory(directory, network), network)
    _register(client, email)
    key = _pem(ec.generate_private_key(ec.SECP256R1()))
    placed = client.new_order(crypto_util.make_csr(key, [domain]))
    written: list[Path] = []
    try:
        for authorization in placed.authorizations:
            if authorization.body.status == messages.STATUS_VALID:  # it has looked not long ago
                continue
            wanted = next((c for c in authorization.body.challenges if isinstance(c.chall, challenges.HTTP01)), None)
            if wanted is None:
                raise errors.Error("the authority does not offer HTTP-01")
            response, text = wanted.response_and_validation(account)
            written.append(tokens / str(wanted.chall.encode("token")))
            write(written[-1], text.encode())
            client.answer_challenge(wanted, response)
        done = client.poll_and_finalize(placed, datetime.now() + SOON)  # local time: so it wants it
    finally:
        for token in written:
            token.unlink(missing_ok=True)
    write(file, key + done.fullchain_pem.encode())


def _register(client: ClientV2, email: str) -> None:
    """Whose account that is; one that is there already is found by its key (RFC 8555 section 7.3.1)."""
    wanted = messages.NewRegistration.from_data(email=email or None, terms_of_service_agreed=True)
    try:
        client.new_account(wanted)
    except errors.ConflictError as there:
        client.net.account = messages.RegistrationResource(body=wanted, uri=there.location)


def _account(file: Path) -> ec.EllipticCurvePrivateKey:
    if not file.exists():
        write(file, _pem(ec.generate_private_key(ec.SECP256R1())), over=False)
    found = serialization.load_pem_private_key(file.read_bytes(), None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file} is not the key of an account of ours")
    return found


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def main() -> int:
    """Do what the input says."""
    logging.disable()  # what is to be said of it, who has started us says
    said = json.load(sys.stdin)
    said |= {"file": Path(said["file"]), "tokens": Path(said["tokens"])}
    try:
        order(**said)
    except (errors.Error, messages.Error, OSError, ValueError) as error:
        limited = isinstance(error, messages.Error) and error.code == "rateLimited"
        why = " ".join(str(error).split()) or type(error).__name__
        print(json.dumps({"why": why, "limited": limited}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
