"""Who may come to a group: by password, by key, by token, or by what another server says."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from settings.models import FieldValue, File, Frozen, Listed, Name, Token, paired
from settings.problems import Wrong
from settings.units import Duration, Rate, RateField

SHORTEST_KEY = 16
_KEY_FIX = "write a long random text, such as of `openssl rand -hex 32`"
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip


def user_name(value: str) -> str:
    """*value*, when a field can have it and a colon can end it. Raises Wrong."""
    if not re.fullmatch(r"[!-9;-~\xa1-\xff]{1,128}", value):
        raise Wrong("not a user's name", 'write up to 128 characters without ":", spaces and control characters')
    return value


def _realm(value: str) -> str:
    if re.search(r'["\\]', value):
        raise Wrong("there is a quote or a backslash in it", "leave it out")
    return value


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.startswith("sha256:"):
        if not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", text):
            raise Wrong("not a SHA-256", 'write "sha256:" and 64 hexadecimal digits, as `sha256sum` prints them')
    elif len(text) < SHORTEST_KEY:
        raise Wrong(f"a key of under {SHORTEST_KEY} characters, which can be guessed", _KEY_FIX)
    return value


def _parameter(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.~-]*", value):
        raise Wrong("not the name of a parameter", "write letters, digits and _ . ~ - only")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not re.fullmatch(r"[!-~]+", value):
        raise Wrong("not a URL", 'write one such as "https://login.example.org/.well-known/jwks.json"')
    if parts.username is not None or parts.fragment:
        raise Wrong("a user name or a fragment in it", "leave it out")
    return value


def _target(value: str) -> str:
    if not re.fullmatch(r"/[!-\"$-~]*", value):
        raise Wrong("not a path", 'write one that starts with "/", such as "/verify"')
    return value


Realm = Annotated[FieldValue, AfterValidator(_realm)]


class BasicAuthSettings(Frozen):
    """Ask for a user's name and password (RFC 7617)."""

    users: Annotated[dict[Annotated[str, AfterValidator(user_name)], SecretStr], BeforeValidator(paired)] = Field(
        default={}
    )
    """User to the hash of the password: bcrypt as `htpasswd -nB` makes it, `$scrypt$`, or the older `$apr1$`."""
    users_file: File = None
    """File of `user:hash` lines, as htpasswd writes it; looked at again when it changes."""
    realm: Realm = "l7lb"
    """What the client's dialog says."""
    header: Token | None = "X-Auth-User"
    """Field that tells the backend the user's name; the client's own is removed."""
    pass_on: bool = False
    """Whether the backend gets the `Authorization` field, password and all."""
    remember: Duration = 300.0
    """How long a password that was right is not hashed again."""
    failures: RateField = Rate(10, 60.0)
    """Wrong passwords that a client may try; then it is answered 429."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.users and self.users_file is None:
            raise Wrong("nobody could come in", "write some users, or a users_file", at=("users",))
        return self


class ApiKeySettings(Frozen):
    """Ask for a key."""

    keys: Annotated[dict[Name, Annotated[SecretStr, AfterValidator(_key)]], BeforeValidator(paired)]
    """Name of who has the key to the key: itself, of at least 16 characters, or `sha256:` and its hash in hex."""
    header: Token | None = "X-API-Key"
    """Field that it comes in; in `Authorization` it stands behind `Bearer`."""
    query: Annotated[str, AfterValidator(_parameter)] = ""
    """Parameter that it may come in, too; others see it in URLs."""
    owner_header: Token | None = "X-Auth-User"
    """Field that tells the backend whose key it was; the client's own is removed."""
    pass_on: bool = False
    """Whether the backend gets the field with the key; a parameter always stays."""

    @model_validator(mode="after")
    def _some_place(self) -> Self:
        if not self.keys:
            raise Wrong("nobody could come in", "write some keys", at=("keys",))
        if self.header is None and not self.query:
            raise Wrong("a key can come from nowhere", "write a header, or a query", at=("header",))
        return self


class JwtSettings(Frozen):
    """Ask for a JSON Web Token (RFC 7519), signed by somebody we know."""

    algorithms: Listed[Algorithm]
    """The ways of signing that are accepted."""
    keys_url: Annotated[str, AfterValidator(_url)] | None = None
    """Where the issuer has its keys: a JWK set (RFC 7517)."""
    keys_file: File = None
    """File with them: a JWK set, or PEM public keys and certificates; looked at again when it changes."""
    secret: SecretStr | None = None
    """What issuer and we share, for `HS256` and its kind."""
    ca: File = None
    """PEM file of the authorities of an https `keys_url`; the system's store when not given."""
    timeout: Duration = Field(default=5.0, gt=0)
    """How long the keys may take to come."""
    refresh: Duration = Field(default=600.0, gt=0)
    """How often they are asked for again."""
    cooldown: Duration = Field(default=10.0, gt=0)
    """How often at most, when tokens name keys that are not there."""
    issuer: str | None = None
    """What `iss` has to be."""
    audience: Listed[str] = ()
    """What has to be in `aud`, one of these."""
    leeway: Duration = 30.0
    """How far clocks may differ."""
    expires: bool = True
    """Whether a token has to have an end."""
    header: Token = "Authorization"
    """Field that it comes in; in `Authorization` it stands behind `Bearer`."""
    cookie: Token | None = None
    """Cookie that it may come in, too."""
    claims: Annotated[dict[str, Token], BeforeValidator(paired)] = Field(default={})
    """Claim to the field that tells the backend, as in `sub=X-Auth-User`; dots lead into tables of claims. The client's
    own fields are removed."""
    pass_on: bool = False
    """Whether the backend gets the token's field; a cookie always stays."""

    @model_validator(mode="after")
    def _some_keys(self) -> Self:
        given = [name for name in ("keys_url", "keys_file", "secret") if getattr(self, name) is not None]
        if not self.algorithms:
            raise Wrong("no way of signing is accepted", 'write some, such as "RS256"', at=("algorithms",))
        if not given:
            raise Wrong("there is nothing to verify with", "write keys_url, keys_file or secret", at=("keys_url",))
        if len(given) > 1:
            raise Wrong(f"{' and '.join(given)} at once", "keep one of them", at=(given[1],))
        shared = [name for name in self.algorithms if name.startswith("HS")]
        if self.secret is not None and len(shared) < len(self.algorithms):
            raise Wrong("a secret is no public key", "write HS256, HS384 or HS512", at=("algorithms",))
        if self.secret is None and shared:
            fix = "leave it out: a public key is no secret, and would be taken for one"
            raise Wrong(f"{shared[0]} signs with a secret, and there are keys", fix, at=("algorithms",))
        if self.secret is not None and len(self.secret.get_secret_value()) < 2 * SHORTEST_KEY:
            raise Wrong("a secret of under 32 characters, which can be guessed", _KEY_FIX, at=("secret",))
        return self


class ForwardAuthSettings(Frozen):
    """Ask a server about each request."""

    pool: Name
    """Name of the pool that is asked; its timeouts, retries and TLS are those of this, too."""
    path: Annotated[str, AfterValidator(_target)] = "/"
    """Path, and query, that it is asked for, by GET."""
    request_fields: Listed[Token] = ()
    """Fields of the request that it gets; all, when none is named."""
    backend_fields: Listed[Token] = ()
    """Fields of its 2xx answer that the backend gets; the client's own are removed."""
    client_fields: Listed[Token] = ()
    """Fields of its 2xx answer that the client gets, such as `Set-Cookie`."""
    user: Token | None = None
    """Field of its 2xx answer that names the user, for the log."""
    away: Literal["deny", "allow"] = "deny"
    """It cannot be asked, or answers 5xx: the client gets 503, or the request goes on."""
