"""What a request says of its client's certificate, and what a client cannot make it say."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.client_certificate import certified, described
from app.domain.headers import CLIENT_CERTIFICATE

DER = b"\x30\x03abc"


def said(**told: object) -> dict[bytes, bytes]:
    return dict(described(DER, told))


def subject(*parts: tuple[str, str]) -> bytes:
    return said(subject=tuple((part,) for part in parts))[b"x-client-cert-subject"]


def names(*names: tuple[object, ...]) -> bytes:
    return said(subjectAltName=names).get(b"x-client-cert-names", b"")


def test_the_certificate_itself() -> None:
    """RFC 9440 section 2.1: a byte sequence of RFC 8941."""
    assert said() == {
        b"client-cert": b":" + base64.b64encode(DER) + b":",
        b"x-client-cert-sha256": hashlib.sha256(DER).hexdigest().encode(),
    }


def test_what_it_was_verified_by() -> None:
    """RFC 9440 section 2.2: a list of byte sequences, in the order of the handshake, without the client's own."""
    assert b"client-cert-chain" not in said()
    fields = dict(described(DER, {}, [b"between", b"root"]))
    assert (
        fields[b"client-cert-chain"] == b":" + base64.b64encode(b"between") + b":, :" + base64.b64encode(b"root") + b":"
    )


def test_the_subject_is_written_as_rfc_4514_has_it() -> None:
    assert (
        subject(("countryName", "DE"), ("organizationName", "Example"), ("commonName", "alice"))
        == b"CN=alice,O=Example,C=DE"
    )
    assert said(subject=((("commonName", "a"), ("userId", "7")),))[b"x-client-cert-subject"] == b"CN=a+UID=7"
    assert subject(("serialNumber", "1")) == b"serialNumber=1"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a,CN=root", rb"a\,CN=root".replace(b"=", rb"\=")),
        (" a ", rb"\ a\ "),
        ("#a", rb"\#a"),
        ('a+"\\<>;=', rb"a\+\"\\\<\>\;\="),
        ("a\r\nb\0", rb"a\0D\0Ab\00"),
        ("é", rb"\C3\A9"),
        ("~\x7f", rb"~\7F"),
        ("\ud800", rb"\ED\A0\80"),
    ],
)
def test_nothing_in_it_can_be_taken_for_more(value: str, written: bytes) -> None:
    assert subject(("commonName", value)) == b"CN=" + written


def test_names() -> None:
    assert (
        names(("DNS", "a.test"), ("URI", "spiffe://a/b"), ("email", "a@b"), ("IP Address", "::1"), ("DirName", ((),)))
        == b"DNS:a.test, URI:spiffe://a/b, email:a@b, IP:::1"
    )
    assert names(("DNS", "a, DNS:b%2C")) == b"DNS:a%2C%20DNS:b%252C"
    assert names(("DNS", "\ud800")) == b"DNS:%ED%A0%80"
    assert names(("DirName", ((),))) == b""


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4))
def test_each_name_is_one(values: list[str]) -> None:
    parts = names(*(("DNS", value) for value in values)).split(b", ")
    assert len(parts) == len(values)
    assert all(part.startswith(b"DNS:") and part.isascii() and part.decode().isprintable() for part in parts)


@pytest.mark.parametrize("name", sorted(CLIENT_CERTIFICATE))
def test_what_the_client_wrote_goes(name: bytes) -> None:
    """Also where a backend would take it for the same (`-`, `_` and `.` in CGI and its heirs)."""
    spoofed = [(name, b"1"), (name.replace(b"-", b"_"), b"2"), (name.replace(b"-", b"."), b"3")]
    headers = [(b"host", b"a"), *spoofed, (b"x", b"y")]
    assert certified(headers, [(name, b"4")]) == [(b"host", b"a"), (b"x", b"y"), (name, b"4")]


def test_connection_takes_none_of_it_away() -> None:
    listed = [(b"connection", b"keep-alive, Client-Cert ,x-client-cert-subject"), (b"connection", b"client-cert")]
    assert certified(listed, []) == [(b"connection", b"keep-alive")]
    assert certified([(b"connection", b"te,\tclient-cert\t,\x0bX ,close")], []) == [
        (b"connection", b"te, \x0bX, close")
    ]
