"""The data plane as plain dicts and lists."""

from __future__ import annotations

from typing import Any

from app.domain.backend import Backend
from app.domain.hosts import shown
from app.domain.pool import Pool
from app.domain.routing import RouteTable, Rule
from settings.groups import GroupSettings
from settings.root import Settings
from settings.view import tree


def config(settings: Settings) -> dict[str, Any]:
    """The effective settings without secrets, where each that is no default was said, and what is doubtful."""
    return {"settings": tree(settings), "origins": dict(settings.origins), "warnings": list(settings.warnings)}


def pool(state: Pool, now: float) -> dict[str, Any]:
    """One pool and its backends; *now* in monotonic seconds."""
    return {
        "strategy": state.settings.strategy.kind,
        "available": len(state.available),
        "panic": state.panic,
        "in_flight": state.in_flight,
        "limit": state.limit,
        "backends": [backend(one, now) for one in state.backends],
        "leaving": [backend(one, now) for one in state.leaving],
    }


def backend(state: Backend, now: float) -> dict[str, Any]:
    """One backend; *now* in monotonic seconds."""
    return {
        "id": state.id,
        "url": state.spec.url,
        "weight": state.weight,
        "draining": state.draining,
        "level": state.level,
        "in_flight": state.in_flight,
        "max_in_flight": state.max_in_flight,
        "health": state.health.state.value,
        "reason": state.health.reason,
        "breaker": state.breaker.state.value,
        "ejections": dict(state.breaker.ejections),
        "available": state.available,
        "absence": state.absence(now),
    }


def routes(table: RouteTable, settings: Settings) -> dict[str, Any]:
    """The groups in order of precedence, and where they overlap."""
    rules = sorted(table.rules, key=_precedence, reverse=True)
    return {
        "groups": [group(rule, settings.groups[rule.name]) for rule in rules],
        "overlaps": [finding._asdict() for finding in table.overlaps()],
    }


def group(rule: Rule, settings: GroupSettings) -> dict[str, Any]:
    """One group: what it matches, and what it answers with."""
    said = settings.model_dump(mode="json", include={"method", "header", "query", "client"}, exclude_defaults=True)
    return {
        "group": rule.name,
        "priority": rule.priority,
        "host": [shown(host) for host in rule.hosts],
        "path": rule.path,
        "path_match": rule.kind,
        "conditions": said,
        "answer": answer(settings),
        "limit": settings.limit,
    }


def answer(settings: GroupSettings) -> str:
    """What a group does with a request, in a few words, which are those of its settings."""
    if settings.redirect is not None:
        return f"redirect {settings.redirect.status} {settings.redirect.to}"
    if settings.respond is not None:
        return f"respond {settings.respond.status}"
    words = [f"pool {settings.pool}"]
    if settings.split is not None:
        words = ["split " + ",".join(f"{name}={weight}" for name, weight in settings.split.pools.items())]
    if settings.fallback:
        words.append("fallback " + ",".join(settings.fallback))
    if settings.fallback_respond is not None:
        words.append(f"fallback_respond {settings.fallback_respond.status}")
    if (mirror := settings.mirror) is not None:
        words.append(f"mirror {mirror.pool}" + (f" {mirror.share * 100:g}%" if mirror.share < 1 else ""))
    return "; ".join(words)


def _precedence(rule: Rule) -> tuple[Any, ...]:
    """Higher first: priority, the most specific of its hosts, then the rank among groups of one host."""
    # An exact host, then the longer wildcard, then any: written "example.org", ".example.org" and "".
    hosts = [(host != "" and not host.startswith("."), len(host)) for host in rule.hosts]
    return (rule.priority, max(hosts), rule.rank)
