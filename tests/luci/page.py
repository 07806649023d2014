"""A page of the router in the browser, as somebody uses it: what fields say, what is entered, what is pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from luci.router import Router

CHANGES = ("add", "set", "delete", "order")


class Page:
    """What the browser shows, and the router behind it."""

    def __init__(self, chrome: Chrome, router: Router) -> None:
        self.chrome, self.router = chrome, router

    def open(self, name: str) -> Page:
        """Load it, and wait until it is drawn."""
        self.chrome.get(f"{self.router.url}/{name}")
        self.wait(lambda: self.chrome.execute_script("return document.getElementById('view').dataset.ready"))
        return self

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.chrome, 10, 0.05).until(lambda _: condition())

    def one(self, css: str) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, css)

    def texts(self, css: str) -> list[str]:
        """At one moment: nodes that are drawn anew meanwhile would be stale."""
        found = "return Array.from(document.querySelectorAll(arguments[0]), node => node.innerText.trim())"
        return list(self.chrome.execute_script(found, css))

    def field(self, section: str, option: str) -> WebElement:
        """The place of an option on the page, or in the window over it."""
        fields = self.chrome.find_elements(By.CSS_SELECTOR, f'[data-field="cbid.xflowd.{section}.{option}"]')
        field = fields[-1]
        pane = self.chrome.execute_script("return arguments[0].closest('.tabpane')", field)
        if pane and not pane.is_displayed():
            places = [node.get_attribute("data-tab") for node in self.chrome.find_elements(By.CSS_SELECTOR, ".tabpane")]
            place = places.index(pane.get_attribute("data-tab"))
            self.chrome.find_elements(By.CSS_SELECTOR, ".cbi-tabmenu a")[place].click()
        return field

    def shown(self, section: str, option: str) -> Any:
        """What the field says: a text, the label of a choice, a list, or whether it is ticked."""
        field = self.field(section, option)
        if boxes := field.find_elements(By.CSS_SELECTOR, ".choice input"):
            return [box.get_attribute("value") for box in boxes if box.is_selected()]
        if items := field.find_elements(By.CSS_SELECTOR, ".item"):
            return [item.text for item in items]
        if selects := field.find_elements(By.CSS_SELECTOR, "select"):
            return Select(selects[0]).first_selected_option.text
        entry = field.find_element(By.CSS_SELECTOR, "input")
        return entry.is_selected() if entry.get_attribute("type") == "checkbox" else entry.get_attribute("value")

    def enter(self, section: str, option: str, text: str) -> None:
        entry = self.field(section, option).find_element(By.CSS_SELECTOR, "input[type=text]")
        entry.clear()
        entry.send_keys(text, Keys.TAB)

    def choose(self, section: str, option: str, label: str) -> None:
        Select(self.field(section, option).find_element(By.CSS_SELECTOR, "select")).select_by_visible_text(label)

    def press(self, title: str, within: str = "body") -> None:
        buttons = self.chrome.find_elements(By.XPATH, f'//button[normalize-space()="{title}"]')
        next(button for button in reversed(buttons) if button.is_displayed() and self._is_in(button, within)).click()

    def _is_in(self, node: WebElement, css: str) -> bool:
        return bool(self.chrome.execute_script("return arguments[0].closest(arguments[1]) !== null", node, css))

    def save(self, title: str = "Save & Apply") -> list[tuple[str, dict[str, Any]]]:
        """Press the button, wait until the page is there again, and give the calls of `uci` that change something."""
        self.router.calls.clear()
        self.press(title)
        self.wait(lambda: ("uci", "confirm", {}) in self.router.calls)
        self.wait(lambda: ("uci", "get") in [call[:2] for call in self.router.calls[-4:]])
        self.wait(lambda: self.chrome.execute_script("return document.getElementById('view').dataset.ready"))
        return self.changes()

    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        return [(method, values) for scope, method, values in self.router.calls if scope == "uci" and method in CHANGES]
