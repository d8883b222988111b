"""The JSON Schema of the settings file, for editors: `python -m settings.schema` writes `settings/schema.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from settings.root import Settings
from settings.shape import Shape

FILE = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of what a TOML or YAML file may say."""
    made = Settings.model_json_schema()
    made["properties"].pop("config")  # says which file it is, so it is not in one
    made["title"] = "l7lb settings"
    for model in models(Shape(Settings)):
        properties = (made if model is Settings else made["$defs"][model.__name__])["properties"]
        for key, value in defaults(model).items():
            if key in properties and value is not None:
                properties[key]["default"] = value
    _widen(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    """The defaults of *model* as a file would say them, quantities with their units."""
    try:
        return model().model_dump(mode="json")
    except ValidationError:  # something in it is required
        fields = {key: field for key, field in model.model_fields.items() if not field.is_required()}
        return {key: _spelled(field) for key, field in fields.items() if not field.default_factory}


def _spelled(field: FieldInfo) -> Any:
    """The default of *field*, as a file would say it."""
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotation).dump_python(field.default, mode="json")


def models(shape: Shape) -> Iterator[type[BaseModel]]:
    """Every model at and below *shape*."""
    if shape.entry is not None:
        yield from models(Shape(shape.entry))
    elif shape.model is not None:
        yield shape.model
        for field in shape.model.model_fields.values():
            yield from models(Shape(field.annotation))


def text() -> str:
    """What `schema.json` holds."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"


def _widen(node: Any) -> None:
    """A list may also be one line of text, "a,b", and a Choice its kind alone, and so on for the other short forms."""
    if isinstance(node, dict):
        for inner in node.values():
            _widen(inner)
        for name, definition in node.get("$defs", {}).items():
            if name in _SHORT:
                node["$defs"][name] = {"anyOf": [definition, {"type": "string", "description": _SHORT[name]}]}
        if node.get("type") == "array":
            node["type"] = ["array", "string"]
    elif isinstance(node, list):
        for inner in node:
            _widen(inner)


_SHORT = {
    "BackendSettings": "url|weight=2|id=a",
    "Choice": "the kind alone",
    "MirrorSettings": "the name of the pool",
    "RedirectSettings": "where to",
    "StateSettings": "the place alone",
}


if __name__ == "__main__":
    FILE.write_text(text())
