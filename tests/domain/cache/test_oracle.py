"""The rules of RFC 9111 written a second time, from choices and not from text, against random requests and responses.

The oracle below knows nothing of fields, directives as text, or `Stored`: it is the specification's sentences over a
few choices. Whatever the cache does with the same choices, spelled as a message, has to be the same. It goes by the
defaults of the settings, but for what a Cookie means, which is ours: it says where we are stricter than the RFC.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate

from hypothesis import event, given, settings
from hypothesis import strategies as st

from app.domain.cache.lookup import Lookup
from app.domain.cache.reuse import Verdict, reuse
from app.domain.cache.stored import Stored
from app.domain.cache.storing import Policy
from app.domain.headers import Fields
from settings.cache import CacheSettings

NOW = 1_780_000_000.0
KEEP = CacheSettings().keep
seconds = st.none() | st.integers(0, 100)
flag = st.booleans()


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    max_age: int | None
    s_maxage: int | None
    expires: int | None
    revalidate: int | None
    age: int
    modified: int | None
    etag: bool
    no_store: bool
    no_cache: bool
    private: bool
    public: bool
    must_revalidate: bool
    must_understand: bool
    cookie: bool

    def fields(self) -> Fields:
        words = []
        for word in ("no-store", "no-cache", "private", "public", "must-revalidate", "must-understand"):
            words += [word] * getattr(self, word.replace("-", "_"))
        for word, value in (("max-age", self.max_age), ("s-maxage", self.s_maxage)):
            words += [] if value is None else [f"{word}={value}"]
        words += [] if self.revalidate is None else [f"stale-while-revalidate={self.revalidate}"]
        fields = [(b"date", at(0)), (b"age", b"%d" % self.age)]
        fields += [(b"cache-control", word.encode()) for word in words[:1]]
        fields += [(b"cache-control", ", ".join(words[1:]).encode())] if words[1:] else []
        fields += [] if self.expires is None else [(b"expires", at(self.expires))]
        fields += [] if self.modified is None else [(b"last-modified", at(-self.modified))]
        fields += [(b"etag", b'"v"')] if self.etag else []
        return fields + ([(b"set-cookie", b"a=b")] if self.cookie else [])


@dataclass(frozen=True)
class Asked:
    """A request."""

    authorized: bool
    cookie: bool
    no_store: bool
    no_cache: bool
    max_age: int | None
    min_fresh: int | None
    max_stale: int | None

    def lookup(self) -> Lookup:
        words = ["no-store"] * self.no_store + ["no-cache"] * self.no_cache
        for word in ("max_age", "min_fresh", "max_stale"):
            value = getattr(self, word)
            words += [] if value is None else [f"{word.replace('_', '-')}={value}"]
        fields = [(b"cache-control", ",".join(words).encode())] if words else []
        fields += [(b"authorization", b"x")] * self.authorized + [(b"cookie", b"x")] * self.cookie
        return Lookup("GET", fields)


answers = st.builds(
    Answer, status=st.sampled_from([200, 404, 201, 302, 503, 599]), max_age=seconds, s_maxage=seconds,
    expires=st.none() | st.integers(-50, 100), revalidate=seconds, age=st.integers(0, 60),
    modified=st.none() | st.integers(0, 1000), etag=flag, no_store=flag, no_cache=flag, private=flag, public=flag,
    must_revalidate=flag, must_understand=flag, cookie=flag,
)  # fmt: skip
asked = st.builds(
    Asked, authorized=flag, cookie=flag, no_store=flag, no_cache=flag, max_age=seconds, min_fresh=seconds,
    max_stale=seconds,
)  # fmt: skip


def at(offset: float) -> bytes:
    return formatdate(NOW + offset, usegmt=True).encode()


# The oracle...

CACHEABLE_BY_DEFAULT = {200, 404}
UNDERSTOOD = {200, 404, 302, 503}


def lifetime(answer: Answer) -> float:
    """Section 4.2.1, and 4.2.2 by a tenth."""
    if answer.s_maxage is not None:
        return answer.s_maxage
    if answer.max_age is not None:
        return answer.max_age
    if answer.expires is not None:
        return answer.expires
    if answer.modified is not None and (answer.status in CACHEABLE_BY_DEFAULT or answer.public):
        return answer.modified / 10
    return 0


def may_store(answer: Answer, request: Asked) -> bool:
    """Section 3, sentence by sentence."""
    if answer.must_understand and answer.status not in UNDERSTOOD:
        return False
    if request.no_store or (answer.no_store and not answer.must_understand):
        return False
    if answer.private:
        return False
    if request.authorized and not (answer.public or answer.must_revalidate or answer.s_maxage is not None):
        return False
    if answer.cookie or (request.cookie and not (answer.public or answer.s_maxage is not None)):
        return False  # stricter than the RFC: see above
    return (
        answer.public
        or answer.no_cache  # no word of section 3; what has a validator is of use, and it never is without one
        or answer.expires is not None
        or answer.max_age is not None
        or answer.s_maxage is not None
        or answer.status in CACHEABLE_BY_DEFAULT
    )


def is_of_use(answer: Answer) -> bool:
    """Nothing else is kept: it will be fresh, or may be used stale, or can be validated within a day."""
    left = lifetime(answer) - answer.age
    if answer.etag or answer.modified is not None:
        return left + KEEP > 0
    if answer.no_cache:
        return False
    return left + usable_stale(answer) > 0


def usable_stale(answer: Answer) -> float:
    return 0 if answer.must_revalidate or answer.no_cache else answer.revalidate or 0


def use(answer: Answer, request: Asked, after: float) -> Verdict:
    """Sections 4 and 4.2.4, 5.2.1, and RFC 5861."""
    if answer.no_cache or request.no_cache:
        return Verdict.VALIDATE
    age = answer.age + after
    left = lifetime(answer) - age
    if request.max_age is not None and age > request.max_age:
        return Verdict.VALIDATE
    if left > 0:
        return Verdict.FRESH if left >= (request.min_fresh or 0) else Verdict.VALIDATE
    strict = answer.must_revalidate or answer.s_maxage is not None
    if not strict and -left < (request.max_stale or 0):
        return Verdict.FRESH
    if not request.min_fresh and -left < usable_stale(answer):
        return Verdict.STALE
    return Verdict.VALIDATE


@settings(max_examples=1000)
@given(answers, asked)
def test_what_is_stored(answer: Answer, request: Asked) -> None:
    found = Policy(CacheSettings()).judge(
        request.lookup(), answer.status, answer.fields(), extra=None, stamp=1, requested=NOW, received=NOW
    )

    expected = may_store(answer, request) and is_of_use(answer)
    event("stored" if expected else "not stored")
    assert isinstance(found, Stored) is expected, found


@settings(max_examples=1000)
@given(answers, asked, st.integers(0, 200))
def test_how_it_is_used(answer: Answer, request: Asked, after: int) -> None:
    first = Lookup("GET", [])
    found = Policy(CacheSettings()).judge(
        first, answer.status, answer.fields(), extra=None, stamp=1, requested=NOW, received=NOW
    )
    if isinstance(found, str):
        return

    verdict = reuse(request.lookup(), [found], NOW + after).verdict
    event(verdict.value)

    assert verdict is use(answer, request, after)
