"""The names of a certificate, against what OpenSSL and another library have written."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.certificate import dns_names, expires
from tests.support.tls import authority

ISSUED = authority().issue_cert("A.example.org", "*.b.example.org", "127.0.0.1", "alice@example.org")
CERTIFICATE = ssl.PEM_cert_to_DER_cert(ISSUED.cert_chain_pems[0].bytes().decode())


def test_only_dns_names() -> None:
    """Neither addresses nor mailboxes."""
    assert dns_names(CERTIFICATE) == ("a.example.org", "*.b.example.org")


def test_none_without_the_extension() -> None:
    authoritys = ssl.PEM_cert_to_DER_cert(authority().cert_pem.bytes().decode())
    assert dns_names(authoritys) == ()


@pytest.mark.parametrize("end", range(0, len(CERTIFICATE), 7))
def test_a_part_of_one_is_none(end: int) -> None:
    for read in (dns_names, expires):
        with pytest.raises(ValueError):  # noqa: PT011
            read(CERTIFICATE[:end])


@given(st.binary(max_size=200))
def test_whatever_it_is_there_is_no_other_error(data: bytes) -> None:
    for read in (dns_names, expires):
        with contextlib.suppress(ValueError):
            read(data)


@pytest.mark.parametrize("year", [1999, 2049, 2050, 2126])
def test_its_end(year: int) -> None:
    """From 2050 on with four digits of the year."""
    begin, end = datetime(1970, 1, 1, tzinfo=UTC), datetime(year, 3, 1, 12, 30, 59, tzinfo=UTC)
    issued = authority().issue_cert("a.test", not_before=begin, not_after=end)
    assert expires(ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())) == end.timestamp()


def test_something_else_in_der() -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        expires(b"\x30\x04\x30\x02\x30\x00")


@given(st.integers(0, len(CERTIFICATE) - 1), st.integers(0, 255))
def test_nor_with_a_byte_that_is_another(at: int, byte: int) -> None:
    with contextlib.suppress(ValueError):
        dns_names(CERTIFICATE[:at] + bytes((byte,)) + CERTIFICATE[at + 1 :])


def test_no_extensions_and_one_without_a_tag() -> None:
    assert dns_names(bytes.fromhex("30023000")) == ()
    with pytest.raises(ValueError, match="not a certificate"):
        dns_names(bytes.fromhex("30020500"))
