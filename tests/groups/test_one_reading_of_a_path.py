"""However a path is spelled: the group that was chosen is the one that a backend would choose by what it is sent."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadRequest
from app.domain.paths import canonical, plainer, strip

PREFIXES = ("/admin", "/admin/keys", "/public", "/café", "/a b")
PARTS = (
    "admin", "ADMIN", "%61dmin", "adm%69n", "%2561dmin", "keys", "public", "caf%C3%A9", "caf%c3%a9", "cafe%CC%81",
    "a%20b", "a+b",
    "a%2520b", "", ".", "..", "%2e", "%2E%2e", ".%2e", "%252e%252e", "...", "..;", "..;x=y", ";x", "admin;x", "%3b",
    "%2f", "%2F", "%252f",
    "%5c", "\\", "%00", "%0d%0a", "%", "%u002e", "%c0%ae", "%e0%80%af", "%ff", "\u2215", "%E2%88%95", "%EF%BC%8F", "x",
)  # fmt: skip
spelled = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).flatmap(
    lambda parts: st.lists(st.sampled_from(["/", "//", "/./", "/;/"]), min_size=len(parts), max_size=len(parts)).map(
        lambda joints: "".join(map("".join, zip(joints, parts, strict=True))).encode("utf-8")
    )
)


def group(path: str) -> str:
    """The longest prefix that the path is under, by whole segments."""
    return max((prefix for prefix in PREFIXES if path == prefix or path.startswith(prefix + "/")), key=len, default="")


def readings(raw: bytes) -> set[str]:
    """How backends read a path: decoded once; or with its dots taken out as well."""
    once = unquote(raw.decode("ascii"), errors="surrogateescape")
    return {once, posixpath.normpath("/" + once.lstrip("/"))}


@given(spelled)
def test_the_backend_is_sent_what_was_decided_by(raw: bytes) -> None:
    """A path that could be under another prefix to somebody who reads it differently is refused."""
    try:
        path = canonical(raw)
    except BadRequest:
        return
    chosen = group(path)
    for reading in readings(raw):
        joined = "/" + "/".join(segment for segment in reading.split("/") if segment)
        assert group(joined) == chosen, (raw, path, reading)
    assert canonical(plainer(raw)) == path
    if chosen:
        rest = strip(raw, chosen)
        assert rest.startswith(b"/")
        assert not rest.startswith(b"//")
        assert group(canonical(rest)) == group(path[len(chosen) :] or "/")


@pytest.mark.parametrize(
    "raw", [b"/public/../admin", b"/public/%2e%2e/admin", b"/public/..;/admin", b"/public/..%2fadmin",
    b"/public%2f..%2fadmin",
            b"/public/%5c../admin", b"/public/..\\admin", b"/public/%c0%ae%c0%ae/admin", b"/admin%00", b"/%0d%0a/admin",
            "/public/\u2215admin".encode()],
)  # fmt: skip
def test_what_leads_elsewhere_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        canonical(raw)


@pytest.mark.parametrize(
    ("raw", "chosen"),
    [(b"/%61dmin", "/admin"), (b"//admin", "/admin"), (b"/%2561dmin", ""), (b"/ADMIN", ""), (b"/admin;x", ""),
     (b"/%252e%252e/admin", ""), (b"/caf%c3%a9", "/caf\xe9"), (b"/cafe%CC%81", ""), (b"/%EF%BC%8Fadmin", "")],
)  # fmt: skip
def test_one_name_is_one_group(raw: bytes, chosen: str) -> None:
    """Decoded once, never twice; case and what Unicode takes for alike are different names."""
    assert group(canonical(raw)) == chosen
