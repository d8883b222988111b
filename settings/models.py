"""What every settings model is: frozen, strict about unknown keys; and the values that several of them have."""

from __future__ import annotations

import ipaddress
import json
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from settings.problems import Wrong

T = TypeVar("T")
LONGEST_PATTERN = 1000
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2


class Frozen(BaseModel):
    """A settings model: never changes, refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    short: ClassVar[str] = ""
    """The key that text in place of the table says, wherever it is written; none takes no text from an environment."""


class Choice(Frozen):
    """Which implementation, and its options, beside its code: `"p2c"` or `{kind = "maglev", table = 5003}`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    short: ClassVar[str] = "kind"

    kind: str
    """Its name; what is written beside it are its options."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """What was given beside the kind."""
        return dict(self.model_extra or {})


def listed(value: Any) -> Any:
    """A list from "a,b", from lines, or from '["a", "b"]', for an environment. Raises Wrong for broken JSON."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("[", "{")) or re.match(r"\s*\[[0-9a-fA-F:]+\]", value):  # the latter is IPv6
        return [item.strip() for item in re.split(r"[,\n]", value) if item.strip()]
    found = _json(value, 'write "a,b" or ["a", "b"]')
    return found if isinstance(found, list) else [found]


def paired(value: Any) -> Any:
    """A table from "a=1,b=2" or '{"a": "1"}', for one line of an environment. Raises Wrong for what is neither."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return _json(value, 'write "name=value,name=value" or {"name": "value"}')
    pairs = [item.partition("=") for item in value.split(",") if item.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise Wrong("not a table", 'write "name=value,name=value" or {"name": "value"}')
    return {name.strip(): rest.strip() for name, _, rest in pairs}


def _json(value: str, fix: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Wrong("broken JSON", fix) from None


def _network(value: Any) -> Any:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    value = value.strip() if isinstance(value, str) else ""
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        near = f'write "{ipaddress.ip_network(value, strict=False)}"'
    except ValueError:
        near = 'write an address or a network, such as "10.0.0.0/8" or "fd00::/8"'
    raise Wrong("not a network", near)


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,63}", value) or "__" in value:
        near = re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")[:63]
        raise Wrong(
            "not a name", f'write lower-case letters, digits and single "_" only{f", such as {near!r}" if near else ""}'
        )
    return value


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise Wrong("not a token of HTTP", "write letters, digits, - and _ only")
    return value


def _field_value(value: str) -> str:
    if not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value) or value != value.strip():
        raise Wrong("not a value of a header field", "leave out line ends, control characters and spaces at the ends")
    return value


def _no_control(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise Wrong("there is a control character in it", "leave it out")
    return value


def compiled(pattern: str) -> str:
    """*pattern*, which is a regular expression of bearable length. Raises Wrong."""
    if len(pattern) > LONGEST_PATTERN:
        raise Wrong(f"a regular expression over {LONGEST_PATTERN} characters", "write a shorter one, or several groups")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Wrong(f"not a regular expression ({error})", "escape what is meant literally with a backslash") from None
    return pattern


def matched(value: str) -> str:
    """What a header or parameter is compared with: text, `*`, or `~` and a regular expression. Raises Wrong."""
    if value.startswith("~"):
        compiled(value[1:])
    return value


def _method(value: str) -> str:
    if value.upper() in ("CONNECT", "TRACE"):
        raise Wrong("CONNECT and TRACE are never served", "leave it out")
    return value.upper()


def _affinity(value: str) -> str:
    if re.fullmatch(r"client|path|(header|cookie):[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query:[^&=#\s\x00-\x1f\x7f]+", value):
        return value.lower() if value.startswith("header:") else value
    if re.fullmatch(r"(?!(?:client|path|header|cookie|query):)[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        return value
    fix = 'write "client", "path", "header:<name>", "cookie:<name>", "query:<name>" or "module:function"'
    raise Wrong("not a part of a key", fix)


def _whole_key(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value):
        raise Wrong("a part of the key is there twice", "leave one out")
    return value


Listed = Annotated[tuple[T, ...], BeforeValidator(listed)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Name = Annotated[str, AfterValidator(_name)]
Token = Annotated[str, AfterValidator(_token)]
Method = Annotated[Token, AfterValidator(_method)]
FieldValue = Annotated[str, AfterValidator(_field_value)]
Line = Annotated[str, AfterValidator(_no_control)]
Pattern = Annotated[str, AfterValidator(compiled)]
Match = Annotated[str, AfterValidator(matched)]
File = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
Port = Annotated[int, Field(ge=1, le=65535)]
Fields = Annotated[dict[Token, FieldValue], BeforeValidator(paired)]
Matches = Annotated[dict[Annotated[Token, AfterValidator(str.lower)], Match], BeforeValidator(paired)]
Parameters = Annotated[dict[str, Match], BeforeValidator(paired)]
AffinityKey = Annotated[Listed[Annotated[str, AfterValidator(_affinity)]], AfterValidator(_whole_key)]
