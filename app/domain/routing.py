"""Which group a request belongs to: a walk over dictionaries of hosts and path segments, however many groups there are.

Precedence is the Gateway API's: the higher `priority`; then the more specific host (exact, longer wildcard, any); then
the path (exact, longer prefix, regular expression); then a method, more header fields, more query parameters, a client
network; then the one that was defined first. The walk visits candidates in this order, so that in a table without
priorities the first that fits is the answer; with them, the walk goes on for as long as a higher one could come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from app.domain import hosts
from app.domain.errors import MethodNotAllowed, NoRoute
from app.domain.matching import CLIENT, HEADER, METHOD, PATH, QUERY, Asked, Conditions
from app.domain.overlaps import Overlap, overlaps
from app.domain.paths import literal
from settings.problems import Crossed, Wrong

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from settings.groups import GroupSettings

UNSERVED: Final = frozenset({"CONNECT", "TRACE"})

_REASONS: Final = {
    0: "no group has this host",
    PATH: "no group has this path",
    METHOD: "no group has this method on this path",
    HEADER: "the groups on this path ask for other header fields",
    QUERY: "the groups on this path ask for other query parameters",
    CLIENT: "the groups on this path are for other clients",
}


class Rule:
    """One group, as the table knows it.

    Attributes:
        hosts: as `hosts.pattern` writes them; ("",) for any.

        path: canonical, a prefix without its final slash; as written for a regular expression.

        plain: whether it asks for nothing but host and path.

        rank: the higher goes first, among groups of one priority and one host.

    Raises:
        Wrong: when it cannot match any request.
    """

    __slots__ = ("conditions", "hosts", "kind", "name", "path", "plain", "priority", "rank")

    def __init__(self, name: str, settings: GroupSettings, order: int) -> None:
        self.name = name
        self.priority = settings.priority
        self.hosts = tuple(dict.fromkeys(hosts.pattern(host) for host in settings.host)) or ("",)
        self.kind = settings.path_match
        self.path = settings.path if self.kind == "regex" else literal(settings.path, "path")
        if self.kind == "prefix":
            self.path = self.path.rstrip("/") or "/"
        self.conditions = Conditions(settings)
        self.plain = self.conditions.none
        specific = {"exact": (2, 0), "prefix": (1, len(self.path)), "regex": (0, 0)}[self.kind]
        self.rank = (*specific, *self.conditions.rank(), -order)


class Node:
    """A path in the tree of prefixes: its children by segment, and the rules of all prefixes up to here."""

    __slots__ = ("children", "rules")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.rules: tuple[Rule, ...] = ()


class Tree:
    """The rules of one host."""

    __slots__ = ("_children", "_depth", "_exact", "_patterns", "_root")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._root = Node()
        self._exact: dict[str, tuple[Rule, ...]] = {}
        self._patterns: tuple[Rule, ...] = ()
        self._depth = 0
        exact: dict[str, list[Rule]] = {}
        for rule in sorted(rules, key=lambda rule: rule.rank, reverse=True):
            if rule.kind == "exact":
                exact.setdefault(rule.path, []).append(rule)
            elif rule.kind == "prefix":
                self._plant(rule)
            else:
                self._patterns += (rule,)
        self._hand_down()
        self._children = self._root.children
        self._exact = {path: (*own, *self._walk(path)) for path, own in exact.items()}

    def _plant(self, rule: Rule) -> None:
        node = self._root
        segments = rule.path[1:].split("/") if rule.path != "/" else []
        self._depth = max(self._depth, len(segments))
        for segment in segments:
            node = node.children.setdefault(segment, Node())
        node.rules += (rule,)

    def _hand_down(self) -> None:
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            for child in node.children.values():
                child.rules += node.rules
                waiting.append(child)

    def _walk(self, path: str) -> tuple[Rule, ...]:
        rules = self._root.rules
        children = self._children
        if children:
            for segment in path[1:].split("/", self._depth):
                node = children.get(segment)
                if node is None:
                    break
                rules = node.rules
                children = node.children
        return rules

    def find(self, path: str) -> tuple[Rule, ...]:
        """The rules that *path* may belong to, the most specific first; those with a pattern still have to try it."""
        rules = self._exact.get(path)
        if rules is None:
            rules = self._walk(path)
        return rules + self._patterns if self._patterns else rules


class RouteTable:
    """All groups by host and path. Never changes; `build` makes it."""

    __slots__ = ("_any", "_by_host", "_exact", "_longest", "_top", "_trees", "_wild", "rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        by_host: dict[str, list[Rule]] = {}
        for rule in self.rules:
            for host in rule.hosts:
                by_host.setdefault(host, []).append(rule)
        self._trees = {host: Tree(own) for host, own in by_host.items()}
        self._any = self.trees("")
        self._exact = {host: self.trees(host) for host in by_host if host and not host.startswith(".")}
        self._wild = {host: self.trees(host) for host in by_host if host.startswith(".")}
        self._longest = max(map(len, self._wild), default=0)
        self._by_host = bool(self._exact or self._wild)
        self._top = max((rule.priority for rule in self.rules), default=0)

    @classmethod
    def build(cls, groups: Mapping[str, GroupSettings]) -> RouteTable:
        """Prepare *groups*; their order is the order of definition.

        Raises:
            Crossed: with every group that could match no request.
        """
        rules: list[Rule] = []
        wrong: list[tuple[tuple[str, ...], Wrong]] = []
        for order, (name, settings) in enumerate(groups.items()):
            try:
                rules.append(Rule(name, settings, order))
            except Wrong as error:
                wrong.append((("groups", name, *error.at), error))
        if wrong:
            raise Crossed(wrong)
        return cls(rules)

    def trees(self, host: str) -> tuple[Tree, ...]:
        """The trees in which a host of the table is looked up, the most specific first."""
        return tuple(self._trees[known] for known in (host, *hosts.wilder(host)) if known in self._trees)

    def _lookup(self, host: str) -> tuple[Tree, ...]:
        """The same for the Host of a request: any string, its port included."""
        trees = self._exact.get(host)
        if trees is None:
            name = hosts.bare(host)
            trees = self._exact.get(name)
            if trees is None:
                trees = self._any
                # From the longest wildcard on; not at 0, where nothing would stand in front of it.
                at = name.find(".", max(1, len(name) - self._longest)) if self._longest else -1
                while at > 0:
                    if name[at:] in self._wild:
                        return self._wild[name[at:]]
                    at = name.find(".", at + 1)
        return trees

    def match(self, host: str, path: str, method: str, headers: Fields, query: bytes, client: str) -> str:
        """The name of the group that the request belongs to.

        Args:
            host: the Host field as sent; "" without one.

            path: canonical, as `paths.canonical` makes it.

            method: case-sensitive, as sent.

            headers: names in lower case.

            query: raw, without the `?`.

            client: its address.

        Raises:
            NoRoute: with what the request fell short of.

            MethodNotAllowed: for CONNECT and TRACE.

            BadRequest: when a pattern would have to judge what is too long for it.
        """
        if method in UNSERVED:
            raise MethodNotAllowed(f"{method} is not served")
        top = self._top
        best: Rule | None = None
        asked: Asked | None = None
        furthest = 0
        for tree in self._lookup(host) if self._by_host else self._any:
            furthest = furthest or PATH
            for rule in tree.find(path):
                if best is not None and rule.priority <= best.priority:
                    continue
                if not rule.plain:
                    if asked is None:
                        asked = Asked(path, method, headers, query, client)
                    shortfall = rule.conditions.shortfall(asked)
                    if shortfall:
                        furthest = max(furthest, shortfall)
                        continue
                if rule.priority == top:
                    return rule.name
                best = rule
        if best is None:
            raise NoRoute(_REASONS[furthest])
        return best.name

    def overlaps(self) -> list[Overlap]:
        """Groups that are never reached, and those whose order alone decides; for people."""
        return overlaps(self)
