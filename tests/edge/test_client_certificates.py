"""Whom a listener asks for a certificate, and what its requests then say of the client: by handshakes in memory."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from app.domain.client_certificate import described
from app.edge.tls import Guard, identify, policy
from settings.tls import ClientCertificateSettings
from tests.support.tls import Certificate, authority, client, handshake


def asking(files: Certificate, *, mode: str = "required", chain: bool = False) -> ssl.SSLContext:
    """The context of a listener that asks clients for certificates of the tests' authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    Guard(ClientCertificateSettings.model_validate({"ca": str(files.ca), "mode": mode, "chain": chain})).stand(context)
    return context


def known(issued: trustme.LeafCert) -> ssl.SSLContext:
    """A client with a certificate."""
    context = client()
    issued.configure_cert(context)
    return context


@pytest.fixture
def files(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


def test_nobody_is_asked_where_no_authority_is_named(files: Certificate) -> None:
    context = files.server()
    before = context.verify_mode
    guard = Guard(ClientCertificateSettings())
    guard.stand(context)

    assert guard.authorities is None
    assert context.verify_mode == before == ssl.CERT_NONE


def test_a_certificate_may_be_required(files: Certificate) -> None:
    context = asking(files)

    assert context.verify_mode == ssl.CERT_REQUIRED
    with pytest.raises(ssl.SSLError):
        handshake(context, client(maximum_version=ssl.TLSVersion.TLSv1_2))


def test_or_wanted(files: Certificate) -> None:
    context = asking(files, mode="optional")

    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert identify(handshake(context, client())[1])([(b"client-cert", b"x"), (b"a", b"b")]) == [(b"a", b"b")]


@pytest.mark.parametrize("chain", [False, True])
def test_clients_get_no_tickets_where_their_chain_is_passed_on(files: Certificate, chain: bool) -> None:
    """What else the context has been told stays."""
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).options
    context = asking(files, chain=chain)

    assert bool(context.options & ssl.OP_NO_TICKET) is chain
    assert context.num_tickets == (0 if chain else 2)
    assert context.options & plain == plain


def test_the_policy_adds_to_what_a_context_has_been_told() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    before = context.options
    context.options &= ~(ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE)
    policy(context)
    ours = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE

    assert context.options & ours == ours
    assert context.options & before == before


def test_over_plain_tcp_nobody_is_anybody() -> None:
    assert identify(None)([(b"a", b"b"), (b"client-cert", b"forged")]) == [(b"a", b"b")]
    assert identify(None, chain=True)([(b"client-cert-chain", b"forged")]) == []


def test_a_request_says_who_its_client_is(files: Certificate) -> None:
    _, far = handshake(asking(files), known(authority().issue_cert("alice@example.com")))
    der, told = far.getpeercert(binary_form=True), far.getpeercert()
    assert der is not None
    assert told is not None
    fields = described(der, told)

    assert dict(fields)[b"x-client-cert-names"] == b"email:alice@example.com"
    assert identify(far)([(b"client-cert", b"forged"), (b"a", b"b")]) == [(b"a", b"b"), *fields]
    assert identify(far, chain=True)([]) == fields  # there is nothing between it and the authority


def test_and_by_whom_it_was_vouched_for(files: Certificate) -> None:
    """The certificates between, without the authority's own."""
    between = authority().create_child_ca()
    _, far = handshake(asking(files, chain=True), known(between.issue_cert("bob@example.com")))
    der, told = far.getpeercert(binary_form=True), far.getpeercert()
    assert der is not None
    assert told is not None
    middle = ssl.PEM_cert_to_DER_cert(between.cert_pem.bytes().decode())

    assert identify(far, chain=True)([]) == described(der, told, [middle])
    assert identify(far)([]) == described(der, told)
