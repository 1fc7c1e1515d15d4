"""The server's own description, OpenAPI 3.1, made from the very models that judge requests."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from luthier.serve.api import ChatRequest, CompletionRequest
from luthier.serve.tokenize import TokenizeRequest

REFUSALS = {
    "400": "The request cannot be understood, or asks for what cannot be given.",
    "401": "No key that the server knows.",
    "403": "The key, or the page that asks, may not do this.",
    "404": "No such model.",
    "408": "The request did not come whole in its time.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "421": "The server goes by another name.",
    "429": "The key has had its share; Retry-After says when to come again.",
    "431": "The head of the request is too large.",
    "503": "The server is full, being stopped, or its engine is being started anew; Retry-After says when to come again.",
    "504": "The answer took longer than it may.",
}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
USAGE: dict[str, Any] = {
    "type": "object",
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": {
        name: {"type": "integer", "minimum": 0}
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    },
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object", "required": ["index", "finish_reason"]}},
        "usage": USAGE,
    },
}
TOKENS: dict[str, Any] = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["count", "max_model_len", "tokens"],
            "properties": {
                "count": {"type": "integer", "minimum": 1},
                "max_model_len": {"type": "integer"},
                "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            },
        }
    }
}
MODEL: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}
MODELS: dict[str, Any] = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": MODEL}},
}


def describe(models: Sequence[str], *, has_keys: bool) -> dict[str, Any]:
    """The description as one JSON object, with the models that are served as the names that a request may have."""
    shapes = [(shape, "validation") for shape in (ChatRequest, CompletionRequest, TokenizeRequest)]
    _, definitions = models_json_schema(shapes, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    for shape in ("ChatRequest", "CompletionRequest", "TokenizeRequest"):
        definitions["$defs"][shape]["properties"]["model"] |= {"enum": list(models)}
    components: dict[str, Any] = {"schemas": definitions["$defs"] | {"Error": ERROR}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Luthier", "version": version("luthier")},
        "paths": {
            "/v1/chat/completions": {"post": _post("ChatRequest", "Answer a conversation.")},
            "/v1/completions": {"post": _post("CompletionRequest", "Complete a prompt.")},
            "/tokenize": {"post": _post("TokenizeRequest", "The ids of a prompt.", TOKENS)},
            "/v1/models": {"get": _get("The models that are served.", MODELS)},
            "/health": {"get": _get("Whether the server lives.", {"type": "object"})},
            "/ready": {"get": _get("Whether it would answer now.", {"type": "object"})},
        },
        "components": components,
    }
    if has_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


ANSWERS: dict[str, Any] = {"application/json": {"schema": ANSWER}, "text/event-stream": {}}


def _post(shape: str, summary: str, answers: dict[str, Any] = ANSWERS) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "The answer.", "content": answers}} | _refusals(),
    }


def _get(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    answer = {"description": summary, "content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "responses": {"200": answer} | _refusals()}


def _refusals() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": why, "content": content} for status, why in REFUSALS.items()}
