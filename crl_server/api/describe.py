"""What a route says of itself, and the OpenAPI document that is made of it.

:func:`told` stands above every endpoint. What it states is held against the running service by a test that sends what
the document allows, and what it does not; who may use a route, by the authorisation matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from crl_server.access.roles import ALLOWED, WRITES, Operation
from crl_server.api.examples import example_of, example_problem
from crl_server.api.problems import MEDIA_TYPE, Problem, status_of
from verifier.formats.json_schema import in_ecma, schema_of_text
from verifier.formats.strict_json import Document
from verifier.revocation.standing_rules import KINDS

JSON = "application/json"
TITLE = "Loadlock"
VERSION = "1"
DESCRIPTION = "The service of one Loadlock deployment: docs/spec/api.md says what the document cannot."
REFERENCE = "#/components/schemas/{name}"
NO_BODY: tuple[str, ...] = ("io.failed",)
READ_ONLY: tuple[str, ...] = ("auth.token", "auth.role", "unreachable.issuer")
WRITTEN: tuple[str, ...] = ("request.rate", "request.idempotency", "usage.arguments")
JSON_BODY: tuple[str, ...] = (
    "format.too-large", "format.encoding", "format.depth", "format.duplicate-key", "format.number", "format.syntax",
    "format.schema", "request.slow",
)  # fmt: skip
PUBLISHED: tuple[str, ...] = ("list.full", "revocation.reach", "server.*", "clock.behind", "usage.key", "trust.*")
"""Codes that a kind of route may answer with, whatever else it does."""

F = TypeVar("F", bound=Callable[..., Any])


class Told(NamedTuple):
    """What a route says of itself.

    Attributes:
        summary: one line.
        may: the operation that its caller must be allowed; None where anybody may.
        answer: the type of its answer; None for one that is no JSON document of ours.
        status: of an answer that went well.
        media: the media type of such an answer.
        body: the type of the JSON body it takes.
        form: the parts of a multipart body it takes, and which of them may be left out.
        codes: further codes it may answer with; a code that ends in ``*`` stands for its group.
        dry: the type of its answer, with status 200, to a request that only asks what would happen.
        tagged: whether it answers with an ETag, and honours If-None-Match.
    """

    summary: str
    may: Operation | None
    answer: Any = None
    status: int = 200
    media: str = JSON
    body: type[Document] | None = None
    form: Mapping[str, bool] = {}
    codes: Sequence[str] = ()
    dry: Any = None
    tagged: bool = False


def told(summary: str, may: Operation | None, **more: Any) -> Callable[[F], F]:
    """Let an endpoint say of itself what :class:`Told` holds."""
    known = Told(summary, may, **more)

    def decorate(endpoint: F) -> F:
        endpoint.told = known  # type: ignore[attr-defined]
        return endpoint

    return decorate


def told_routes(routes: Iterable[object]) -> list[tuple[APIRoute, Told]]:
    """The routes that say something of themselves."""
    return [(r, r.endpoint.told) for r in routes if isinstance(r, APIRoute) and hasattr(r.endpoint, "told")]


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an application's routes."""
    described = told_routes(app.routes)
    kinds = [kind for _, known in described for kind in (known.answer, known.dry, known.body) if kind is not None]
    _, components = _schemas([Problem, *KINDS.values(), *kinds])
    _bind_matches(components)
    given = get_openapi(title=TITLE, version=VERSION, routes=[route for route, _ in described])["paths"]
    paths: dict[str, Any] = {}
    for route, known in described:
        for method in sorted(route.methods or ()):
            parameters = given[route.path_format][method.lower()].get("parameters", [])
            paths.setdefault(route.path_format, {})[method.lower()] = _operation(route, known, method, parameters)
    bearer = {"type": "http", "scheme": "bearer", "description": "an API token, or a token of an OIDC issuer"}
    document: dict[str, Any] = in_ecma(
        {
            "openapi": "3.1.0",
            "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
            "paths": dict(sorted(paths.items())),
            "components": {"schemas": dict(sorted(components.items())), "securitySchemes": {"bearer": bearer}},
        }
    )
    return document


def _bind_matches(components: Mapping[str, dict[str, Any]]) -> None:
    """Say of each rule that is taken which match goes with which kind: its type cannot say so."""
    for schema in components.values():
        given = schema.get("properties", {})
        if "match" in given and "enum" in given.get("kind", {}):
            schema["oneOf"] = [
                {"properties": {"kind": {"const": kind}, "match": _reference(KINDS[kind])}}
                for kind in given["kind"]["enum"]
            ]


def _operation(route: APIRoute, known: Told, method: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    shown: dict[str, Any] = {"summary": known.summary, "operationId": route.name}
    headers = []
    if known.may in WRITES:
        headers.append(_header("Idempotency-Key", {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"}))
    if known.tagged:
        headers.append(_header("If-None-Match", {"type": "string"}))
    if parameters or headers:
        shown["parameters"] = [*parameters, *headers]
    if known.may is not None:
        shown |= {"security": [{"bearer": []}], "x-loadlock-operation": known.may}
        shown["x-loadlock-roles"] = sorted(ALLOWED[known.may])
    if known.body is not None:
        shown["requestBody"] = {"required": True, "content": {JSON: _shown(known.body)}}
    if known.form:
        shown["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _form(known.form)}}}
    responses = {str(known.status): _success(known)}
    if known.dry is not None:
        responses["200"] = _success(known._replace(answer=known.dry))
    if known.tagged:
        responses["304"] = {"description": "What was seen before still stands."}
    shown["responses"] = responses | _problems(_codes(known, bool(parameters), "{" in route.path_format))
    return shown


def _success(known: Told) -> dict[str, Any]:
    content = {"schema": {"type": "string"}} if known.answer is None else _shown(known.answer)
    shown: dict[str, Any] = {"description": "Done.", "content": {known.media: content}}
    if known.tagged:
        shown["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return shown


def _codes(known: Told, parameters: bool, addressed: bool) -> list[str]:
    """Every code that a route may answer with."""
    codes = [*known.codes, *NO_BODY]
    codes += READ_ONLY if known.may is not None else ()
    codes += WRITTEN if known.may in WRITES else ()
    codes += JSON_BODY if known.body is not None else ()
    codes += ("format.too-large", "request.invalid", "request.slow") if known.form else ()
    codes += ("request.invalid",) if parameters or known.may is not None else ()
    codes += ("request.unknown",) if addressed else ()
    return sorted(set(codes))


def _problems(codes: Sequence[str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(status_of(code), []).append(code)
    shown = {}
    for status, some in sorted(by_status.items()):
        schema: dict[str, Any] = {"$ref": REFERENCE.format(name="Problem")}
        if not any(code.endswith("*") for code in some):
            schema = {"allOf": [schema, {"properties": {"code": {"enum": some}}}]}
        content = {MEDIA_TYPE: {"schema": schema, **example_problem(some)}}
        shown[str(status)] = {"description": ", ".join(some), "content": content}
        if status == 429:
            shown["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return shown


def _header(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _form(parts: Mapping[str, bool]) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    return {
        "type": "object",
        "properties": dict.fromkeys(parts, file),
        "required": [name for name, needed in parts.items() if needed],
        "additionalProperties": False,
    }


def _shown(kind: Any) -> dict[str, Any]:
    return {"schema": _reference(kind), **example_of(kind)}


def _reference(kind: Any) -> dict[str, Any]:
    (schema,), _ = _schemas([kind])
    return schema


def _schemas(kinds: list[Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components(kinds, schema_hook=schema_of_text, ref_template=REFERENCE)
