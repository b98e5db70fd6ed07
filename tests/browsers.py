"""Debian's chromium, headless, for tests that are marked `browser`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


def start(profile: Path, *flags: str) -> Any:
    """A browser with an empty profile and more flags; the test is skipped where there is none. Has to be quit."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    usual = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    more = "disable-component-update disable-sync autoplay-policy=no-user-gesture-required"
    for flag in (*usual.split(), *more.split(), f"user-data-dir={profile}", *flags):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def show(browser: Any, address: str, width: int, scheme: str = "light") -> None:
    """The page at an address, on a screen so many pixels wide: a phone's below 600."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(address)
