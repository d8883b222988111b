"""The names of a certificate, against what OpenSSL and another library have written."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.certificate import Issued, dns_names, issued
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
    with pytest.raises(ValueError):  # noqa: PT011
        dns_names(CERTIFICATE[:end])


@given(st.binary(max_size=200))
def test_whatever_it_is_there_is_no_other_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        dns_names(data)


@given(st.integers(0, len(CERTIFICATE) - 1), st.integers(0, 255))
def test_nor_with_a_byte_that_is_another(at: int, byte: int) -> None:
    with contextlib.suppress(ValueError):
        dns_names(CERTIFICATE[:at] + bytes((byte,)) + CERTIFICATE[at + 1 :])


def test_no_extensions_and_one_without_a_tag() -> None:
    assert dns_names(bytes.fromhex("30023000")) == ()
    with pytest.raises(ValueError, match="not a certificate"):
        dns_names(bytes.fromhex("30020500"))


def test_from_when_to_when() -> None:
    """UTCTime up to 2049, GeneralizedTime from 2050 on."""
    for begin, end in (((1999, 2, 3), (2031, 4, 5)), ((2020, 1, 1), (2051, 6, 7))):
        begins, ends = datetime(*begin, tzinfo=UTC), datetime(*end, tzinfo=UTC)
        made = authority().issue_cert("a.test", not_before=begins, not_after=ends)
        der = ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())
        assert issued(der) == Issued(begins.timestamp(), ends.timestamp(), by_itself=False)


def certificate(*times: bytes) -> bytes:
    """As little of one as has these times, each a tag, a length and text."""

    def part(tag: int, content: bytes) -> bytes:
        return bytes((tag, len(content))) + content

    fields = (part(2, b"\1"), part(0x30, b""), part(0x30, b"by"), part(0x30, b"".join(times)), part(0x30, b"of"))
    return part(0x30, part(0x30, b"".join(fields)))


def test_of_which_century_a_year_of_two_digits_is() -> None:
    """From 50 on of the last (RFC 5280 section 4.1.2.5.1)."""
    found = issued(certificate(b"\x17\x0d500101000000Z", b"\x17\x0d491231235959Z"))

    assert datetime.fromtimestamp(found.begins, UTC).year == 1950
    assert datetime.fromtimestamp(found.ends, UTC).year == 2049
    assert not found.by_itself


@pytest.mark.parametrize("time", [b"\x17\x0d500101000000+", b"\x18\x0b2050010100Z", b"\x17\x03now"])
def test_a_time_without_seconds_or_of_a_zone_is_none(time: bytes) -> None:
    """Section 4.1.2.5: to the second, in UTC."""
    with pytest.raises(ValueError, match=r"^not a time$"):
        issued(certificate(time, time))


@pytest.mark.parametrize("der", [b"\x30", b"\x30\x02\x30", b"\x30\x84\xff", b"\x30\x02\x30\x00", b"\x30\x00"])
def test_what_is_none_is_said_to_be_none(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a certificate$"):
        issued(der)


def test_by_itself() -> None:
    assert issued(ssl.PEM_cert_to_DER_cert(authority().cert_pem.bytes().decode())).by_itself


@given(st.integers(0, len(CERTIFICATE) - 1), st.integers(0, 255))
def test_nor_of_when(at: int, byte: int) -> None:
    with contextlib.suppress(ValueError):
        issued(CERTIFICATE[:at] + bytes((byte,)) + CERTIFICATE[at + 1 :])


@pytest.mark.parametrize("end", range(0, len(CERTIFICATE), 7))
def test_a_part_of_one_says_nothing(end: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        issued(CERTIFICATE[:end])


def test_too_little_to_say_so() -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        issued(bytes.fromhex("30023000"))
