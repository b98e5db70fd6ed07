"""`/docs`: what can be asked, as a page that needs nothing from outside, made of the OpenAPI."""

from __future__ import annotations

import inspect
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tenuto.reporting.pages import environment
from tenuto.serving.endpoints.pages import HEADERS

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page."""
    address = str(request.base_url).rstrip("/")
    page = environment().get_template("serve/docs.html")
    return HTMLResponse(page.render(endpoints=_endpoints(request.app.openapi(), address)), headers=HEADERS)


def _endpoints(openapi: dict[str, Any], address: str) -> list[dict[str, Any]]:
    schemas = openapi["components"]["schemas"]
    return [
        {
            "id": operation["operationId"],
            "method": method.upper(),
            "path": path,
            "about": inspect.cleandoc(operation["description"]).split("\n\n"),
            "curl": [line.replace("ADDRESS", address) for line in operation.get("x-curl", [f"curl ADDRESS{path}"])],
            "tables": _tables(operation, schemas),
        }
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]


def _tables(operation: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """What is sent as JSON and what comes back, a row for each field."""
    sent = _schema(operation.get("requestBody", {}))
    answered = _schema(operation["responses"]["200"])
    found = [("Sent as JSON", sent), ("Answered", answered)]
    return [{"title": title, "fields": rows} for title, schema in found if (rows := list(_rows(schema, schemas)))]


def _schema(message: dict[str, Any]) -> dict[str, Any]:
    return dict(message.get("content", {}).get("application/json", {}).get("schema", {}))


def _rows(schema: dict[str, Any], schemas: dict[str, Any], above: str = "") -> Any:
    """The fields of an object and of the objects within it, each under its place."""
    resolved = _resolved(schema, schemas)
    for name, field in resolved.get("properties", {}).items():
        place = f"{above}{name}"
        items = _resolved(field.get("items", {}), schemas)
        is_list = "properties" in items
        inner = items if is_list else _resolved(field, schemas)
        yield {
            "name": place,
            "kind": _kind(field, schemas),
            "about": field.get("description", inner.get("description", "")),
        }
        yield from _rows(inner, schemas, f"{place}[]." if is_list else f"{place}.")


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "").rpartition("/")[2]
    return dict(schemas[reference]) if reference else schema


def _kind(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(one, schemas) for one in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), schemas)}"
    if "enum" in field:
        return " or ".join(map(str, field["enum"]))
    return str(_resolved(field, schemas).get("type", "any"))
