"""What comes in the body of a request to the control plane."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from app.admin.answers import Refusal

Model = TypeVar("Model", bound=BaseModel)
LONGEST = 4096
"""Bytes of a request body."""


async def body_of(request: Request) -> bytes:
    """All of it. Raises Refusal."""
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST:
                raise Refusal(413, f"a body of more than {LONGEST} bytes")
    except ClientDisconnect:
        raise Refusal(400, "the body did not come to its end") from None
    return body


def parsed(body: bytes, model: type[Model]) -> Model:
    """What JSON *body* says. Raises Refusal: 400 where it is no JSON, 422 where it says something else."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        wrong = [{"at": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()]
        status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
        detail = "; ".join(": ".join(filter(None, one.values())) for one in wrong)
        raise Refusal(status, detail, errors=wrong) from None
