"""docs/api.md is what the API's description says, in a form that one reads. To write it anew:

    PYTHONPATH=scripts /usr/bin/python3 -B -m checks.api_page > docs/api.md"""

from __future__ import annotations

import json
from typing import Any

from .tree import read

SOURCE = "controlplane/api/openapi.json"
PAGE = "docs/api.md"


def check() -> list[str]:
    if read(PAGE) == page(json.loads(read(SOURCE))):
        return []
    return [f"{PAGE}: is not what {SOURCE} says: PYTHONPATH=scripts /usr/bin/python3 -B -m checks.api_page > {PAGE}"]


def page(document: dict[str, Any]) -> str:
    parts = ["# The API", f"<!-- Made of {SOURCE} by scripts/checks/api_page.py: change that. -->",
             "The control plane's HTTP and JSON. " + document["info"]["description"],
             "    curl --unix-socket /run/linimo/control.sock http://linimo/v1/status",
             "The same for programs is `GET /v1/openapi.json`. An error is `{\"error\": \"...\"}`."]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += [f"## {method.upper()} {path}", *_operation(operation)]
    parts.append("# What answers are made of")
    for name, schema in document["components"]["schemas"].items():
        parts += [f"## {name}", *([schema["description"]] if "description" in schema else []), _fields(schema)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _operation(operation: dict[str, Any]) -> list[str]:
    said = ". ".join(_sentence(operation[part]) for part in ("summary", "description") if part in operation) + "."
    answers = [f"{_type(content['schema'])} ({kind})" for kind, content in operation["responses"]["200"].get("content", {}).items()]
    refusals = sorted(code for code in operation["responses"] if code != "200")
    return [said, _table("Parameter", [(one["name"], one["schema"], one.get("description", "")) for one in operation.get("parameters", [])]),
            *(f"Body: {_type(content['schema'])}\n\n{_fields(content['schema'])}".strip()
              for content in operation.get("requestBody", {}).get("content", {}).values()),
            f"Answers {', '.join(answers) or 'nothing'}" + (f"; refuses with {', '.join(refusals)}." if refusals else ".")]


def _fields(schema: dict[str, Any]) -> str:
    """Those of what is in it stand below it, by their names in it."""
    def rows(of: dict[str, Any], before: str) -> list[tuple[str, dict[str, Any], str]]:
        found = []
        for name, one in of.get("properties", {}).items():
            found.append((before + name, one, one.get("description", "")))
            found += rows(one, f"{before}{name}.") + rows(one.get("items", {}), f"{before}{name}[].")
        return found
    return _table("Field", rows(schema, ""))


def _table(title: str, rows: list[tuple[str, dict[str, Any], str]]) -> str:
    lines = [f"| `{name}` | {_type(schema)} | {_escaped(said)} |" for name, schema, said in rows]
    return "\n".join([f"| {title} | Type | |", "|---|---|---|", *lines]) if lines else ""


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kinds = schema.get("type", "anything")
    words = [f"list of {_type(schema['items'])}" if kind == "array" and "items" in schema else kind
             for kind in (kinds if isinstance(kinds, list) else [kinds])]
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to"), ("default", "usually")) if key in schema]
    return ", ".join([" or ".join(words), *bounds])


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print(page(json.loads(read(SOURCE))), end="")
