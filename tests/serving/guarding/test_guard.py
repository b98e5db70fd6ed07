"""What a request may cost before it is answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from tenuto.serving.app import create_app
from tenuto.serving.guarding.admission import ApiKeys
from tenuto.serving.guarding.guard import Guard
from tenuto.serving.hearing.sources import FolderSource
from tenuto.serving.settings import ServingSettings
from tenuto.serving.state import State
from tenuto.sound.audio import encode_wav
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones

KEY = "ann-0123456789abcdef"
SOUND = encode_wav(tone(3000), SAMPLE_RATE_HZ)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_tones(folder)
    return folder


def served(bundle: Path, settings: dict[str, Any] | None = None) -> TestClient:
    state = State.make(FolderSource(bundle), ServingSettings.model_validate(settings or {}))
    return TestClient(create_app(state))


@pytest.fixture
def client(bundle: Path) -> Iterator[TestClient]:
    with served(bundle, {"limits": {"max_upload_mb": 0.1}}) as client:
        yield client


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000):
        yield b"0" * 1000


def check_problem(response: Any, status: int, said: str) -> None:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body = response.json()
    assert said in body["detail"] and body["status"] == status
    assert body["request_id"] == response.headers["X-Request-Id"]


def test_a_large_body_is_refused_with_and_without_its_length(client: TestClient) -> None:
    for content in (bytes(100_001), pieces(101_000)):
        check_problem(client.post("/v1/classify", content=content), 413, "A request may have 0.1 MB at most")
    form = client.post("/v1/classify", files={"file": ("a.wav", bytes(100_001))})
    check_problem(form, 413, "0.1 MB at most")
    check_problem(client.post("/v1/feedback", content=pieces(101_000)), 413, "0.1 MB at most")
    assert client.post("/v1/classify", content=SOUND).status_code == 200


def test_without_a_key_only_the_page_and_probes_are_there(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_API_KEYS", KEY)
    with served(bundle) as client:
        for path in ("/", "/healthz", "/readyz", "/assets/page.js", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        for path in ("/v1/model", "/metrics", "/v1/../metrics", "/nowhere"):
            check_problem(client.get(path), 401, "'Authorization: Bearer KEY'")
        refused = client.post("/v1/classify", content=SOUND)
        check_problem(refused, 401, "wants an API key")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert client.post("/v1/classify", content=SOUND, headers={"X-API-Key": KEY}).status_code == 200


def test_a_stream_without_a_key_is_refused_and_with_one_speaks_our_protocol(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENUTO_API_KEYS", KEY)
    with served(bundle) as client:
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream"):
            pass
        with client.websocket_connect("/v1/stream", subprotocols=["tenuto", f"tenuto.key.{KEY}"]) as stream:
            assert stream.accepted_subprotocol == "tenuto"
            stream.send_json({"sample_rate_hz": SAMPLE_RATE_HZ})
            assert stream.receive_json()["type"] == "ready"


def test_too_many_requests_a_minute_are_told_when_to_come_back(bundle: Path) -> None:
    with served(bundle, {"limits": {"requests_per_minute": 3}}) as client:
        statuses = [client.post("/v1/classify", content=SOUND).status_code for _ in range(3)]
        refused = client.post("/v1/classify", content=SOUND)
        assert statuses == [200] * 3
        check_problem(refused, 429, "More than 3 requests a minute; try again in")
        assert 0 < int(refused.headers["Retry-After"]) <= 20
        assert client.get("/healthz").status_code == 200
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream"):
            pass


def test_pages_of_other_sites_may_neither_send_nor_read(client: TestClient, bundle: Path) -> None:
    elsewhere = {"Origin": "https://evil.example"}
    check_problem(client.post("/v1/classify", content=SOUND, headers=elsewhere), 403, "Pages of https://evil.example")
    check_problem(client.post("/v1/classify", content=SOUND, headers={"Origin": "null"}), 403, "Pages of null")
    own = client.post("/v1/classify", content=SOUND, headers={"Origin": "http://testserver"})
    assert own.status_code == 200 and "Access-Control-Allow-Origin" not in own.headers
    assert client.get("/v1/model", headers=elsewhere).headers.get("Access-Control-Allow-Origin") is None
    friend = {"Origin": "https://friend.example"}
    with served(bundle, {"cors_origins": ["https://friend.example"]}) as open_to_friend:
        answered = open_to_friend.post("/v1/classify", content=SOUND, headers=friend)
        assert answered.status_code == 200
        assert answered.headers["Access-Control-Allow-Origin"] == "https://friend.example"
        asked = friend | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        assert open_to_friend.options("/v1/classify", headers=asked).status_code == 200
        check_problem(open_to_friend.post("/v1/classify", content=SOUND, headers=elsewhere), 403, "evil")


# from here on without a server: what comes in is written down message by message


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """An endpoint that takes the body in and answers with its length, whatever goes wrong."""
    try:
        body = await Request(scope, receive).body()
        response = PlainTextResponse(str(len(body)))
    except Exception:
        response = PlainTextResponse("the endpoint's own mistake", 500)
    await response(scope, receive, send)


def guard(limits: dict[str, float], app: Any = whole) -> Guard:
    return Guard(app, ServingSettings.model_validate({"limits": limits}), ApiKeys({}))


async def ask(guarded: Guard, messages: Iterable[Message | float], **headers: str) -> tuple[int, dict[str, Any], str]:
    """Status, problem and Connection header of a request whose messages come in; a number is a pause in seconds."""
    coming = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        for message in coming:
            if not isinstance(message, float):
                return message
            await asyncio.sleep(message)
        await asyncio.sleep(60)
        raise AssertionError("nobody ended this")

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/classify",
        "headers": raw or [(b"transfer-encoding", b"chunked")],
        "client": ("192.0.2.7", 4000),
        "state": {"request_id": "call-1"},
    }
    await guarded(scope, receive, send)
    begun = [message for message in sent if message["type"] == "http.response.start"]
    assert len(begun) == 1
    text = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    connection = dict(begun[0]["headers"]).get(b"connection", b"").decode()
    return begun[0]["status"], json.loads(text) if text.startswith(b"{") else {"detail": text.decode()}, connection


def piece(size: int, *, is_last: bool = False) -> Message:
    return {"type": "http.request", "body": bytes(size), "more_body": not is_last}


def test_a_client_that_stalls_or_drips_is_let_go() -> None:
    limits = {"upload_timeout_seconds": 0.3}
    for messages in ([piece(10)], [part for _ in range(1000) for part in (piece(1), 0.02)]):
        began = time.monotonic()
        status, problem, connection = asyncio.run(ask(guard(limits), messages))
        assert (status, connection) == (408, "close")
        assert "was not whole after 0.3 s" in problem["detail"]
        assert time.monotonic() - began < 2


def test_a_slow_body_that_is_whole_in_time_is_answered_however_long_the_answer_takes() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await asyncio.sleep(0.5)
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    messages = [piece(10), 0.1, piece(10, is_last=True)]
    status, answer, _ = asyncio.run(ask(guard({"upload_timeout_seconds": 0.3}, slow), messages))
    assert (status, answer["detail"]) == (200, "20")


def test_the_rest_of_a_refused_body_is_read_so_that_the_answer_arrives() -> None:
    limits = {"max_upload_mb": 0.001}
    messages = [piece(900), piece(900), piece(900, is_last=True)]
    status, _, connection = asyncio.run(ask(guard(limits), messages))
    assert (status, connection, messages) == (413, "", messages)
    endless = [piece(900)] * 100_000
    status, _, connection = asyncio.run(ask(guard(limits), endless, content_length="2000"))
    assert (status, connection) == (413, "close")


def test_a_client_that_waits_for_leave_to_send_is_answered_at_once() -> None:
    began = time.monotonic()
    status, _, connection = asyncio.run(
        ask(guard({"max_upload_mb": 0.001}), [], content_length="2000", expect="100-continue")
    )
    assert (status, connection) == (413, "close") and time.monotonic() - began < 1


def test_all_uploads_together_hold_a_bounded_memory() -> None:
    guarded = guard({"max_upload_mb": 0.002, "max_uploads_mb": 0.005, "upload_timeout_seconds": 1})

    async def crowd() -> list[tuple[int, dict[str, Any], str]]:
        slow = [piece(1500), 0.1, piece(100, is_last=True)]
        return await asyncio.gather(*(ask(guarded, list(slow)) for _ in range(4)))

    found = asyncio.run(crowd())
    assert sorted(status for status, _, _ in found) == [200, 200, 200, 503]
    assert any("hold all memory" in problem["detail"] for _, problem, _ in found)
    assert guarded._uploads.held_bytes == 0
    assert [status for status, _, _ in asyncio.run(crowd())].count(200) == 3


def test_too_many_requests_at_once_are_refused_and_forgotten() -> None:
    guarded = guard({"max_requests": 2})

    async def crowd() -> list[int]:
        slow = [0.1, piece(10, is_last=True)]
        return [status for status, _, _ in await asyncio.gather(*(ask(guarded, list(slow)) for _ in range(3)))]

    for _ in range(2):
        assert sorted(asyncio.run(crowd())) == [200, 200, 503]
    assert guarded._requests == 0


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        async def echoed() -> AsyncIterator[bytes]:
            async for part in Request(scope, receive).stream():
                yield part

        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for part in echoed():
            await send({"type": "http.response.body", "body": part, "more_body": True})

    status, answer, _ = asyncio.run(ask(guard({"max_upload_mb": 0.001}, hasty), [piece(900)] * 3))
    assert status == 200 and len(answer["detail"]) == 900
