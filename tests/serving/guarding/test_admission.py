"""API keys and rates."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from tenuto.errors import SettingsError
from tenuto.serving.guarding import admission
from tenuto.serving.guarding.admission import ApiKeys, Buckets

ANN, BOB = "ann-0123456789abcdef", "bob-0123456789abcdef"


def scope(client: str = "192.0.2.7", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw, "client": (client, 4000)}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {BOB}"},
        {"authorization": f"bearer  {BOB}"},
        {"x_api_key": BOB},
        {"sec_websocket_protocol": f"tenuto, tenuto.key.{BOB}"},
    ],
)
def test_a_key_comes_in_a_header_or_with_a_stream_s_protocol(headers: dict[str, str]) -> None:
    keys = ApiKeys({"TENUTO_API_KEYS": f"{ANN}, {BOB}"})
    holder = keys.holder(scope(**headers))
    assert holder is not None and BOB not in holder
    assert holder != keys.holder(scope(x_api_key=ANN))


@pytest.mark.parametrize("given", ["", "x", ANN[:-1], ANN + "0", ANN.upper(), f"{ANN},{BOB}", "ä" * 20])
def test_anything_else_is_no_key(given: str) -> None:
    keys = ApiKeys({"TENUTO_API_KEYS": ANN})
    assert keys.holder(scope(x_api_key=given)) is None
    assert keys.holder(scope(authorization=f"Basic {ANN}")) is None


def test_without_keys_none_is_asked_for() -> None:
    assert not ApiKeys({}) and not ApiKeys({"TENUTO_API_KEYS": " , "})


def test_a_key_that_cannot_be_used_is_not_shown() -> None:
    with pytest.raises(SettingsError, match="key 2 of 2 cannot be used; wanted 16 to 200") as error:
        ApiKeys({"TENUTO_API_KEYS": f"{ANN},hunter2"})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("origin", "origins", "page"),
    [
        (None, [], None),
        ("http://Here.example:8000", [], None),
        ("http://here.example", [], "http://here.example"),
        ("https://friend.example", ["https://Friend.example"], None),
        ("https://foe.example", ["https://friend.example"], "https://foe.example"),
        ("https://foe.example", ["*"], None),
        ("null", ["https://friend.example"], "null"),
        ("null", ["friend.example"], "null"),
    ],
)
def test_pages_of_other_sites_are_told_whatever_the_case(
    origin: str | None, origins: list[str], page: str | None
) -> None:
    headers = Headers({"host": "here.example:8000"} | ({"origin": origin} if origin else {}))
    assert admission.foreign_page(headers, origins) == page


def test_a_bucket_gives_as_many_at_once_and_then_as_time_goes_by() -> None:
    now = [100.0]
    buckets = Buckets(6, clock=lambda: now[0])  # one in ten seconds
    assert [buckets.take("ann") for _ in range(7)] == [0] * 6 + [10]
    assert buckets.take("bob") == 0
    now[0] += 9.5
    assert buckets.take("ann") == 1
    now[0] += 0.5
    assert [buckets.take("ann") for _ in range(2)] == [0, 10]
    now[0] += 3600
    assert [buckets.take("ann") for _ in range(7)] == [0] * 6 + [10]


def test_over_an_hour_no_more_are_granted_than_the_rate_and_the_burst() -> None:
    now = [0.0]
    buckets = Buckets(30, clock=lambda: now[0])
    granted = 0
    for _ in range(36_000):
        granted += buckets.take("ann") == 0
        now[0] += 0.1
    assert granted == pytest.approx(30 * 60 + 30, abs=1)


def test_many_addresses_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MOST_BUCKETS", 100)
    buckets = Buckets(1)
    buckets.take("ann")
    for number in range(99):
        buckets.take(str(number))
    assert buckets.take("ann") > 0
    for number in range(10_000):
        buckets.take(f"again {number}")
    assert len(buckets._left) == 100 and buckets.take("ann") == 0


def test_an_ipv6_subscriber_is_one_address() -> None:
    one, two, other = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")
    assert admission.address(scope(one)) == admission.address(scope(two)) != admission.address(scope(other))
    assert admission.address(scope("192.0.2.7")) == "192.0.2.7"
    assert admission.address({"type": "http", "headers": [], "client": None}) == "unknown"


def test_the_key_that_the_documentation_proposes_can_be_used() -> None:
    assert ApiKeys({"TENUTO_API_KEYS": secrets.token_hex(16)})
    root = Path(__file__).parents[3]
    proposed = re.findall(r"TENUTO_API_KEYS=(.*)", (root / "docs" / "serving.md").read_text())
    assert proposed == ["$(openssl rand -hex 16)"]
    assert "openssl rand -hex 16" in (root / "mlflow" / "serving.yaml").read_text()
