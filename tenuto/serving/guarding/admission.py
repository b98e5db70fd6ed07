"""Who may ask, and how often: API keys, and a token bucket for each key or address."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from tenuto.errors import SettingsError

VARIABLE = "TENUTO_API_KEYS"
"""The environment variable with the keys, commas between them."""
PROTOCOL = "tenuto"
"""What a stream speaks. A browser cannot send headers with a stream: it offers this and 'tenuto.key.<key>'."""

_KEY = re.compile(r"[A-Za-z0-9._~-]{16,200}")
_MOST_BUCKETS = 20_000


class ApiKeys:
    """Keys of which a request has to have one; without any, everybody may ask."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Raises SettingsError for a key that is too short or has other characters; the message does not show it."""
        keys = [key.strip() for key in environment.get(VARIABLE, "").split(",") if key.strip()]
        for number, key in enumerate(keys, 1):
            if not _KEY.fullmatch(key):
                raise SettingsError(
                    f"{VARIABLE}: key {number} of {len(keys)} cannot be used; wanted 16 to 200 letters, digits, '.', "
                    "'_', '~' or '-', such as `openssl rand -hex 16` prints."
                )
        self._digests = tuple(_digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def holder(self, scope: Scope) -> str | None:
        """The digest of the key that a request came with, None when it is none of ours.

        Every key is compared, each in a time that does not depend on how much of it is right.
        """
        given = _digest(_given(scope))
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return given.hex() if any(matches) else None


class Buckets:
    """Token buckets: `per_minute` requests at once, and as many a minute from then on.

    Their number is bounded: of many addresses, those that have not asked for longest are forgotten.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, holder: str) -> int:
        """0 when one more request is granted, else in how many seconds it would be."""
        now = self._clock()
        left, at = self._left.pop(holder, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_second)
        granted = left >= 1
        self._left[holder] = (left - granted, now)
        if len(self._left) > _MOST_BUCKETS:
            self._left.popitem(last=False)
        return 0 if granted else max(1, math.ceil((1 - left) / self._per_second))


def foreign_page(headers: Headers, origins: Collection[str]) -> str | None:
    """Whose page a browser asks for, where that is a page of another site than this server and `origins`.

    '*' among the origins is any site. Other clients than browsers do not say where they come from.
    """
    origin = headers.get("origin")
    if origin is None or "*" in origins:
        return None
    own = {headers.get("host", "").lower(), *(urlsplit(site).netloc.lower() for site in origins)}
    return None if urlsplit(origin).netloc.lower() in own - {""} else origin[:100]


def address(scope: Scope) -> str:
    """Whom a request comes from: an IPv4 address, or the /64 network that one IPv6 subscriber has."""
    host = str((scope.get("client") or ("unknown", 0))[0])
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if parsed.version == 4 else str(ipaddress.ip_network((int(parsed), 64), strict=False))


def _given(scope: Scope) -> str:
    headers = Headers(scope=scope)
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    in_protocol = [name.removeprefix(f"{PROTOCOL}.key.") for name in offered if name.startswith(f"{PROTOCOL}.key.")]
    return headers.get("x-api-key") or (in_protocol[0] if in_protocol else "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
