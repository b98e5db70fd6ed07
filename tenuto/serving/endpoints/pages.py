"""The page of a server: drop a file or use the microphone, and see what the model hears along time.

Files of `tenuto/templates/serve`, and the style of the report. Nothing comes from outside, and the policy that goes
with the page lets a browser load nothing else and run nothing that is written into it.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from tenuto.serving.endpoints.problems import ProblemError

router = APIRouter(include_in_schema=False)

_TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
_ASSETS = {
    "report.css": _TEMPLATES / "report.css",
    **{path.name: path for path in (_TEMPLATES / "serve").iterdir() if path.suffix in (".css", ".js")},
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def page() -> FileResponse:
    """The page."""
    return FileResponse(_TEMPLATES / "serve" / "index.html", headers=HEADERS)


@router.get("/assets/{name}")
async def asset(name: str) -> FileResponse:
    """A style or a script of the page."""
    if name not in _ASSETS:
        raise ProblemError(404, f"The page has no file {name[:80]!r}.")
    return FileResponse(_ASSETS[name], headers=HEADERS)
