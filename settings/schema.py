"""The JSON Schema of the settings file, for editors: `python -m settings.schema` writes `settings/schema.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from settings.root import Settings

FILE = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of what a TOML or YAML file may say."""
    made = Settings.model_json_schema()
    made["properties"].pop("config")  # says which file it is, so it is not in one
    made["title"] = "l7lb settings"
    _widen(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


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
    "RedirectSettings": "where to",
}


if __name__ == "__main__":
    FILE.write_text(text())
