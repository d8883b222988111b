"""The keys that tokens are verified with: a secret, a file, or a JWK set that its issuer has at a URL (RFC 7517)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from app.domain.errors import AuthAway
from app.engine.discovery.api import ApiOptions
from app.engine.discovery.request import asking
from app.engine.discovery.source import SourceFailed
from app.engine.kept_file import KeptFile
from settings.problems import Wrong

if TYPE_CHECKING:
    from settings.identity import JwtSettings

MOST = 100
"""Keys of one set."""
_FAMILIES = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",), "oct": ("HS",)}
"""What a type of key (RFC 7518 section 6.1) signs, by how the algorithm's name begins."""

_ACCEPT = {"accept": "application/jwk-set+json, application/json"}

_log = logging.getLogger("l7lb")


class Key(NamedTuple):
    """One key.

    Attributes:
        value: as PyJWT takes it.

        family: of algorithms that it is for, however a token may call itself.

        name: `kid`; "" without one.

        algorithm: the only one that it is for; "" for any of the family.
    """

    value: Any
    family: tuple[str, ...]
    name: str = ""
    algorithm: str = ""


class Keys(Protocol):
    """Those of one issuer.

    Attributes:
        version: grows when they have changed: what was verified before counts no more.
    """

    @property
    def version(self) -> int:
        """See above."""

    def find(self, algorithm: str, name: str) -> list[Key] | None:
        """Those that a token of *algorithm* with the `kid` *name* may be signed with; None, when `fetch` may know."""

    async def fetch(self) -> None:
        """Learn what keys there are. Raises AuthAway when none are known, and none can be had."""


def fitting(keys: list[Key], algorithm: str, name: str) -> list[Key]:
    """Those of *keys* that are for *algorithm*, and of this *name*, where token and key have one."""
    alike = (key for key in keys if algorithm.startswith(key.family) and key.algorithm in ("", algorithm))
    return [key for key in alike if not name or key.name in ("", name)]


class FixedKeys:
    """A secret, or what a file says."""

    def __init__(self, settings: JwtSettings) -> None:
        self._file: KeptFile[list[Key]] | None = None
        self._keys: list[Key] = []
        if settings.secret is not None:
            self._keys = [Key(settings.secret.get_secret_value().encode(), ("HS",))]
        else:
            assert settings.keys_file is not None
            self._file = KeptFile(Path(settings.keys_file), keys_of)

    @property
    def version(self) -> int:
        """Of the file."""
        if self._file is None:
            return 0
        self._file.get()
        return self._file.version

    def find(self, algorithm: str, name: str) -> list[Key] | None:
        """As `Keys` says."""
        return fitting(self._file.get() if self._file is not None else self._keys, algorithm, name)

    async def fetch(self) -> None:
        """There is nothing to wait for."""


class KeySet:
    """A set at a URL: fetched when the first token comes, kept, and fetched again beside the requests.

        NONE     --a token--> fetched, which that token waits for
        FRESH    --refresh--> asked for beside the requests, which go on with what there is
                 --a token names a key that is not there--> fetched, which that token waits for, once a cooldown
        what was fetched last is good until there is something better

    Whoever waits shares one fetch.
    """

    def __init__(self, settings: JwtSettings, clock: Callable[[], float] = monotonic) -> None:
        assert settings.keys_url is not None
        self._api = ApiOptions(url=settings.keys_url, ca=settings.ca, timeout=settings.timeout)
        self._refresh = settings.refresh
        self._cooldown = settings.cooldown
        self._clock = clock
        self._keys: list[Key] = []
        self._tried = self._fetched = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self.version = 0

    def find(self, algorithm: str, name: str) -> list[Key] | None:
        """As `Keys` says."""
        if not self._keys:
            return None
        found = fitting(self._keys, algorithm, name)
        now = self._clock()
        if now - self._tried >= self._cooldown:
            if not found:
                return None
            if now - self._fetched >= self._refresh:
                self._start()
        elif not found and self._task is not None:
            return None
        return found

    async def fetch(self) -> None:
        """Wait for what is being fetched, or fetch."""
        if self._clock() - self._tried >= self._cooldown:
            self._start()
        if self._task is not None:
            await asyncio.shield(self._task)
        if not self._keys:
            raise AuthAway("the keys of the issuer of tokens cannot be had")

    async def stop(self) -> None:
        """End what is being fetched."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _start(self) -> None:
        if self._task is None:
            self._tried = self._clock()
            self._task = asyncio.get_running_loop().create_task(self._fetch())
            self._task.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self._task = None

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._api.timeout), asking(self._api, "", fields=_ACCEPT) as reply:
                if reply.status != 200:
                    raise SourceFailed(f"status {reply.status}")
                keys = keys_of((await reply.read()).decode())
        except (SourceFailed, OSError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            _log.warning("the keys at %s cannot be had (%s)", self._api.url, reason)
            return
        self._fetched = self._clock()
        if [key[1:] for key in keys] != [key[1:] for key in self._keys] or _numbers(keys) != _numbers(self._keys):
            self._keys = keys
            self.version += 1


def keys_of(text: str) -> list[Key]:
    """The keys of a JWK set, or of PEM public keys and certificates. Raises ValueError; what is of no use is left."""
    if text.lstrip().startswith("{"):
        try:
            said = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deep") from None
        listed = said.get("keys")
        if not isinstance(listed, list):
            raise ValueError("not a JWK set")
        found = [key for entry in listed[:MOST] if isinstance(entry, dict) and (key := _jwk(entry)) is not None]
    else:
        found = _pem(text)
    if not found:
        raise ValueError("there is no public key in it")
    return found


def _jwk(entry: Mapping[str, Any]) -> Key | None:
    """One key of a set; None for one that does not verify, is secret, or broken (RFC 7517 section 5)."""
    from jwt import algorithms  # noqa: PLC0415  # an extra
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    readers: dict[str, Any] = {
        "RSA": algorithms.RSAAlgorithm,
        "EC": algorithms.ECAlgorithm,
        "OKP": algorithms.OKPAlgorithm,
    }
    kind, name, algorithm = (entry.get(part, "") for part in ("kty", "kid", "alg"))
    if kind not in readers or entry.get("use", "sig") != "sig" or not isinstance(name, str):
        return None
    public = {key: value for key, value in entry.items() if key not in ("d", "p", "q", "dp", "dq", "qi", "oth")}
    try:
        value = readers[kind].from_jwk(dict(public))
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    return Key(value, _FAMILIES[kind], name, algorithm if isinstance(algorithm, str) else "")


def _pem(text: str) -> list[Key]:
    from cryptography import x509  # noqa: PLC0415  # an extra
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    kinds = ((rsa.RSAPublicKey, "RSA"), (ec.EllipticCurvePublicKey, "EC"), (ed25519.Ed25519PublicKey, "OKP"))
    found = []
    for part in text.split("-----BEGIN ")[1:]:
        block = f"-----BEGIN {part}".encode()
        certified = part.startswith("CERTIFICATE")
        value = x509.load_pem_x509_certificate(block).public_key() if certified else load_pem_public_key(block)
        found += [Key(value, _FAMILIES[name]) for kind, name in kinds if isinstance(value, kind)]
    return found


def _numbers(keys: list[Key]) -> list[Any]:
    """What two sets are compared by."""
    return [key.value.public_numbers() if hasattr(key.value, "public_numbers") else key.value for key in keys]


def library() -> Any:
    """PyJWT. Raises Wrong when it is not installed."""
    try:
        import jwt  # noqa: PLC0415  # an extra
        from cryptography import x509  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        raise Wrong("PyJWT is not installed", "pip install l7lb[jwt]") from None
    return jwt
