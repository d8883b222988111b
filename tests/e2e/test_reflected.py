"""What of a request comes back in a response or goes on in a head made by us: no byte of it ends a line."""

from __future__ import annotations

import pytest

from tests.support.backend import Backend
from tests.support.raw import request
from tests.support.server import Balancer, pool

EVIL = [
    "%0d%0aX-Evil:%201",
    "%0aX-Evil:1",
    "%E5%98%8A%E5%98%8DX-Evil:1",
    "%00",
    '"><script>',
    "%22;X-Evil=1",
    "%3b%20domain=evil",
]


@pytest.fixture(scope="module")
def settings(shared: Backend) -> dict[str, str]:
    return {
        "LB_GROUPS__LED__PATH": "/led",
        "LB_GROUPS__LED__REDIRECT__TO": "https://{host}{path}?{query}",
        "LB_GROUPS__STUCK__PATH": "/stuck",
        "LB_GROUPS__STUCK__POOL": "stuck",
        **pool("stuck", shared, sticky__enabled="true", sticky__keys="0123456789abcdef" * 4),
    }


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_reflected_is_a_line_of_its_own(balancer: Balancer, backend: Backend, evil: str) -> None:
    """In a Location, an error's body, a cookie, an id, a trace or Via: `raw` would find a malformed or a new field."""
    fields = [f"X-Request-ID: {evil}", f"traceparent: {evil}", f"Via: {evil}", f"Cookie: l7lb={evil}; lb={evil}"]
    with balancer.client() as client:
        for target in (f"/led/{evil}", f"/led?{evil}", f"/stuck?{evil}", f"/{evil}", "/../" + evil):
            response = client.ask(request(target, *fields))
            assert response.status < 500
            assert response.all("x-evil") == []
            assert b"<script>" not in response.body or response.get("content-type") == "application/problem+json"
    for seen in backend.requests:
        assert seen.all("x-evil") == []
