"""The page that says what can be asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tenuto.serving.app import create_app
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.state import State
from tests.bundles import write_tones


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    write_tones(tmp_path)
    with TestClient(create_app(State.make(FolderSource(tmp_path)))) as client:
        yield client


def test_the_page_needs_nothing_from_outside(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and "script" not in page.text and " style=" not in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    used = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(used) >= 4
    for address in used:
        assert address == "data:," or client.get(f"/{address.removeprefix('./')}").status_code == 200, address
    assert set(re.findall(r"https?://[^/\s\"'<]+", page.text)) == {"http://testserver"}
    assert client.get("/redoc").status_code == 404


def test_every_endpoint_is_there_with_its_fields_and_a_line_to_try_it(client: TestClient) -> None:
    page = client.get("/docs").text
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}</h2>" in page
            assert re.search(rf'class="curl"><code>curl [^<]*http://testserver{path}<', page), path
    for field in (
        "answers[].model.version",
        "answers[].likeliest",
        "clips[].sample_rate_hz",
        "groups",
        "takes_feedback",
    ):
        assert f"<code>{field}</code>" in page


def test_what_a_host_header_says_is_text(client: TestClient) -> None:
    page = client.get("/docs", headers={"Host": "a<b>.example"})
    assert "<b>" not in page.text
