"""The path that the backend gets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadRequest
from app.domain.paths import canonical
from app.domain.rewrite import LONGEST, Target, compiled
from settings.groups import GroupSettings, RewriteSettings
from settings.problems import Wrong


def target(path: str = "/api", **settings: Any) -> Target:
    found = Target.of(GroupSettings(path=path, pool="p", **settings))
    assert found is not None
    return found


def rewrite(pattern: str, to: str) -> Target:
    return target(rewrite=RewriteSettings(pattern=pattern, to=to))


@pytest.mark.parametrize(
    "settings",
    [{}, {"path": "/", "strip_prefix": True}, {"strip_prefix": "/"}, {"add_prefix": "/"}, {"strip_prefix": False}],
)
def test_a_group_that_changes_nothing_has_no_target(settings: dict[str, Any]) -> None:
    assert Target.of(GroupSettings(pool="p", **settings)) is None


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/api", b"/"),
        (b"/api/", b"/"),
        (b"/api/x%20y", b"/x%20y"),
        (b"//api/x", b"/x"),
        (b"/%61pi/x", b"/x"),
        (b"/api//x", b"/x"),
        (b"/apix", b"/apix"),
    ],
)
def test_true_takes_the_groups_own_path_off(raw: bytes, path: bytes) -> None:
    assert path == target("/api/", strip_prefix=True).apply(raw)


def test_another_prefix_can_be_taken_off() -> None:
    """Also by a group that matches by a pattern."""
    assert target("/v[0-9]/.*", path_match="regex", strip_prefix="/v1").apply(b"/v1/x") == b"/x"


@pytest.mark.parametrize("raw", [b"/100%25/x", b"//100%25/x", b"/100%25//x"])
def test_a_prefix_of_odd_characters_is_found_in_its_spelling(raw: bytes) -> None:
    assert target("/100%25", strip_prefix=True).apply(raw) == b"/x"


def test_a_prefix_is_not_taken_for_another_that_looks_like_it() -> None:
    """`/%2541` reads `/%41`, which is not `/A`, though `%41` is how one may spell A."""
    assert target("/x", strip_prefix="/%2541").apply(b"/%41/x") == b"/%41/x"


@pytest.mark.parametrize(
    ("prefix", "path"), [("/v1", b"/v1/x"), ("/v1/", b"/v1/x"), ("/é", b"/%C3%A9/x"), ("//v1", b"/v1/x")]
)
def test_a_prefix_is_added(prefix: str, path: bytes) -> None:
    assert path == target(add_prefix=prefix).apply(b"/x")


def test_off_first_then_the_pattern_then_on() -> None:
    found = target(strip_prefix=True, rewrite=RewriteSettings(pattern="^/(a)$", to=r"/\1\1"), add_prefix="/v2")

    assert found.apply(b"/api/a") == b"/v2/aa"


@pytest.mark.parametrize(
    ("pattern", "to", "raw", "path"),
    [
        ("^/old/(.*)$", r"/new/\1", b"/old/a%2Cb", b"/new/a%2Cb"),
        ("^/old/(.*)$", "/new/$1", b"/old/x", b"/new/x"),
        ("^/(?P<year>[0-9]+)/", r"/y/\g<year>/", b"/2024/x", b"/y/2024/x"),
        ("^/(?P<year>[0-9]+)/", "/y/${year}/", b"/2024/x", b"/y/2024/x"),
        ("^/a", "/$$1", b"/a", b"/$1"),
        ("^/a", "b", b"/a", b"/b"),
        ("^/a", "", b"/a", b"/"),
        ("^", "/", b"/a", b"/a"),
        (".*", "/x", b"/anything", b"/x"),
        ("a", "b", b"/aa", b"/ba"),
        ("nothing", "x", b"/a", b"/a"),
        ("^/old", "/é", b"/%6Fld//x", b"/%C3%A9/x"),
        ("/é", "/e", b"/%c3%a9", b"/%C3%A9"),
        ("/%C3%A9", "/e", b"/%c3%a9", b"/e"),
    ],
)
def test_a_pattern_is_replaced_once_in_the_plainest_spelling(pattern: str, to: str, raw: bytes, path: bytes) -> None:
    assert path == rewrite(pattern, to).apply(raw)


def test_a_path_too_long_for_a_pattern_is_refused_not_let_by() -> None:
    """Unrewritten it would reach what the pattern was to keep it from."""
    found = rewrite("^/public", "/x")

    assert found.apply(b"/public" + b"a" * (LONGEST - 7)) == b"/x" + b"a" * (LONGEST - 7)
    with pytest.raises(BadRequest, match="too long"):
        found.apply(b"/public" + b"a" * (LONGEST - 6))


@pytest.mark.parametrize(
    ("pattern", "raw"), [("^/x(.*)$", b"/x.."), ("^/x(.*)$", b"/x./a"), ("^/y%25(.*)", b"/y%252e")]
)
def test_pieces_that_come_together_as_a_dot_segment_are_refused(pattern: str, raw: bytes) -> None:
    with pytest.raises(BadRequest):
        rewrite(pattern, r"/a/\1" if pattern.startswith("^/x") else r"/a/%\1").apply(raw)


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"strip_prefix": "/a/%2e%2e"}, ("strip_prefix",)),
        ({"add_prefix": "/100%"}, ("add_prefix",)),
        ({"rewrite": RewriteSettings(pattern="a", to="/x?y")}, ("rewrite", "to")),
        ({"rewrite": RewriteSettings(pattern="a", to="/x y")}, ("rewrite", "to")),
        ({"rewrite": RewriteSettings(pattern="a", to="/$1")}, ("rewrite", "to")),
        ({"rewrite": RewriteSettings(pattern="a", to="/${name}")}, ("rewrite", "to")),
        ({"rewrite": RewriteSettings(pattern=r"\u00e9", to="/x")}, ("rewrite", "pattern")),
    ],
)
def test_what_cannot_be_built_is_refused_at_its_setting(settings: dict[str, Any], at: tuple[str, ...]) -> None:
    with pytest.raises(Wrong) as wrong:
        target(**settings)

    assert at == wrong.value.at


@pytest.mark.parametrize(
    ("pattern", "to", "problem", "fix"),
    [
        (
            "a",
            "/x y",
            "spaces, control characters, ? and # have no place in a path",
            "percent-encode what is meant literally",
        ),
        (
            "a",
            "/$1",
            "the replacement does not fit the pattern (invalid group reference 1 at position 4)",
            r"parenthesise in the pattern what is needed again, and name it $1 or \1",
        ),
        (
            "(",
            "/x",
            "not a regular expression (missing ), unterminated subpattern at position 0)",
            "escape what is meant literally with a backslash",
        ),
    ],
)
def test_the_operator_is_told_what_to_write(pattern: str, to: str, problem: str, fix: str) -> None:
    with pytest.raises(Wrong) as wrong:
        target(rewrite=RewriteSettings.model_construct(pattern=pattern, to=to))

    assert (wrong.value.message, wrong.value.fix) == (problem, fix)


def test_an_encoded_slash_that_was_let_in_stays() -> None:
    """Whether it may come, the group says before."""
    assert rewrite("^/old", "/new").apply(b"/old/a%2fb") == b"/new/a%2Fb"


def test_signs_in_a_replacement_are_escaped_but_for_those_of_a_group() -> None:
    assert rewrite("^/(a)", r'/X"\g<1>X').apply(b"/a") == b"/X%22aX"


@pytest.mark.parametrize(("settings", "path"), [({"strip_prefix": "/X/"}, b"/y"), ({"add_prefix": "/aX/"}, b"/aX/X/y")])
def test_only_a_slash_at_its_end_is_no_part_of_a_prefix(settings: dict[str, Any], path: bytes) -> None:
    assert target(**settings).apply(b"/X/y") == path


def test_a_broken_pattern_is_refused() -> None:
    with pytest.raises(Wrong, match="not a regular expression"):
        compiled("(")


@given(
    raw=st.lists(st.sampled_from([b"/", b"api", b"a", b".", b"%61", b"%2541", b"%C3%A9", b"%25"]), max_size=10).map(
        b"".join
    ),
    settings=st.fixed_dictionaries(
        {},
        optional={
            "strip_prefix": st.sampled_from([True, "/a", "/a/api"]),
            "add_prefix": st.sampled_from(["/v1", "/v1/", "/é"]),
            "rewrite": st.sampled_from(
                [RewriteSettings(pattern="/?a(.*)", to=to) for to in (r"\1", r"/\1", r"%\1", r"..\1", r"//\1")]
            ),
        },
    ),
)
def test_the_backend_gets_a_rooted_path_that_reads_one_way(raw: bytes, settings: dict[str, Any]) -> None:
    """Whatever is taken off, replaced and put on: one slash in front, and a canonical form; or 400."""
    found = Target.of(GroupSettings(path="/api", pool="p", **settings))
    raw = b"/" + raw
    try:
        canonical(raw)
        path = found.apply(raw) if found else raw
    except BadRequest:
        return

    assert canonical(path)
    assert not found or not path.startswith(b"//")
