"""Which groups are never reached, and which share requests so that only their order decides.

Sound, not complete: a group that is called unreachable is; patterns are not compared with one another beyond equality.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from app.domain import hosts

if TYPE_CHECKING:
    from app.domain.routing import RouteTable, Rule, Tree


class Overlap(NamedTuple):
    """One finding.

    Attributes:
        kind: unreachable: no request ever gets to *group*; shadowed: none of some of its hosts; overlapping: the order
            of definition alone decides between it and *other* for some requests.

        group: the one that loses.

        other: the one that wins.

        message: the whole of it in a sentence.
    """

    kind: Literal["unreachable", "shadowed", "overlapping"]
    group: str
    other: str
    message: str

    def __str__(self) -> str:
        return self.message


def overlaps(table: RouteTable) -> list[Overlap]:
    """All findings, in the order in which the groups were defined."""
    return [finding for rule in table.rules for finding in _of(rule, table)]


def _of(rule: Rule, table: RouteTable) -> Iterable[Overlap]:
    winners: dict[str, Rule] = {}
    rivals: dict[str, Rule] = {}
    for host in rule.hosts:
        own, *wider = table.trees(host)
        for tree in (own, *wider):
            winner = next((other for other in _near(rule, tree) if _wins(other, rule, beside=tree is own)), None)
            if winner is not None:
                winners[host] = winner
                break
        else:
            rivals |= {other.name: other for other in _near(rule, own) if _rivals(other, rule)}
    if len(winners) == len(rule.hosts):
        first = next(iter(winners.values()))
        yield Overlap("unreachable", rule.name, first.name, f"{_never(rule)}: {_why(first, rule)}")
        return
    for host, winner in winners.items():
        text = f"{_never(rule)} for host {hosts.shown(host)}: {_why(winner, rule)}"
        yield Overlap("shadowed", rule.name, winner.name, text)
    for rival in rivals.values():
        text = f"groups {rival.name!r} and {rule.name!r} can match the same request: {rival.name!r} wins, "
        text += "for it is defined first; give one a priority to say which is meant"
        yield Overlap("overlapping", rule.name, rival.name, text)


def _near(rule: Rule, tree: Tree) -> Iterable[Rule]:
    """The rules of *tree* that could match what *rule* matches."""
    path = "/" if rule.kind == "regex" else rule.path
    return (other for other in tree.find(path) if other is not rule)


def _wins(other: Rule, rule: Rule, *, beside: bool) -> bool:
    """Whether *other* takes every request that *rule* matches; *beside* when it stands under the same host."""
    if other.priority < rule.priority or (other.priority == rule.priority and not (beside and other.rank > rule.rank)):
        return False
    return _wider_path(other, rule) and other.conditions.wider(rule.conditions)


def _wider_path(other: Rule, rule: Rule) -> bool:
    if other.kind == "prefix":
        if other.path == "/":
            return True
        return rule.kind != "regex" and f"{rule.path}/".startswith(f"{other.path}/")
    if other.kind == "exact" or rule.kind == "regex":
        return other.kind == rule.kind and other.path == rule.path
    pattern = other.conditions.pattern
    return rule.kind == "exact" and pattern is not None and bool(pattern.fullmatch(rule.path))


def _rivals(other: Rule, rule: Rule) -> bool:
    """Whether both stand equal but for their order, *other* first, and one request can suit both."""
    equal = other.priority == rule.priority and other.kind == rule.kind and other.path == rule.path
    tied = equal and other.rank[:-1] == rule.rank[:-1] and other.rank > rule.rank
    return tied and not other.conditions.apart(rule.conditions)


def _never(rule: Rule) -> str:
    return f"group {rule.name!r} is never reached"


def _why(winner: Rule, rule: Rule) -> str:
    same = winner.hosts == rule.hosts and _wider_path(rule, winner) and rule.conditions.wider(winner.conditions)
    takes = "matches the same requests" if same and _wider_path(winner, rule) else "matches all of its requests"
    text = f"group {winner.name!r} {takes}"
    if winner.priority > rule.priority:
        return f"{text} and has the higher priority ({winner.priority} over {rule.priority})"
    if winner.kind != rule.kind:
        return f"{text}, and a prefix goes before a regular expression; give {rule.name!r} a higher priority"
    return f"{text} and is defined first" if winner.rank[:-1] == rule.rank[:-1] else f"{text} and is more specific"
