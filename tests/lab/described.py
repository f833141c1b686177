"""Whether an answer of the API is as its description says, and has nothing else."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator


class Described:
    def __init__(self, document: dict[str, Any]) -> None:
        """`document`: what /v1/openapi.json answers."""
        self.paths: dict[str, dict[str, Any]] = document["paths"]
        self._components = _only(document["components"])

    def complaints(self, path: str, method: str, status: int, answer: Any) -> list[str]:
        responses = self.paths[path][method]["responses"]
        if str(status) not in responses:
            return [f"{method} {path}: status {status} is not described: {answer}"]
        response = responses[str(status)]
        if "$ref" in response:
            response = self._components["responses"][response["$ref"].rpartition("/")[2]]
        [content] = response["content"].values()
        errors = Draft202012Validator({**_only(content["schema"]), "components": self._components}).iter_errors(answer)
        return [f"{method} {path}: {error.json_path}: {error.message}" for error in errors]


def _only(schema: Any) -> Any:
    """The same, without room for what is not described."""
    if isinstance(schema, list):
        return [_only(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) and "type" in schema else {}
    return closed | {name: _only(each) for name, each in schema.items()}
