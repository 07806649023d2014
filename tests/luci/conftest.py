"""One browser for all tests of the pages; skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1200,1000",
    "--lang=en-US",
)


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium without a window. As root it runs without its sandbox: it is shown our own pages only."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no Chromium with its driver (packages chromium, chromium-driver)")
    home = str(tmp_path_factory.mktemp("chromium"))
    options = ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (*ARGUMENTS, f"--user-data-dir={home}/data"):
        options.add_argument(argument)
    elsewhere = {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
    browser = Chrome(options, ChromeService(driver, env={**os.environ, **elsewhere}))
    browser.set_page_load_timeout(20)
    try:
        yield browser
    finally:
        browser.quit()
