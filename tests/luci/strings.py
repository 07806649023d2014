"""The list of strings that translators get: `python tests/luci/strings.py` writes it anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "packaging" / "openwrt" / "luci-app-xflowd"
RESOURCES = APP / "htdocs/luci-static/resources"
VIEWS = RESOURCES / "view/xflowd"
CATALOGUE = APP / "po/templates/xflowd.pot"
_CALL = re.compile(r"""\b_\((?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\)""")
#: In the JSON files, what the menu shows and what the administration of rights shows.
_SHOWN = {"title", "description"}


def of_view(source: str) -> list[str]:
    """The texts that a view has translated; raises ValueError at a call that is no plain text."""
    found = [single or double for single, double in _CALL.findall(source)]
    if len(found) != len(re.findall(r"\b_\(", source)):
        raise ValueError("_() with something else than one text")
    return [re.sub(r"\\(.)", r"\1", text) for text in found]


def of_json(document: object) -> list[str]:
    if not isinstance(document, dict):
        return []
    own = [text for key, text in document.items() if key in _SHOWN and isinstance(text, str)]
    return own + [text for value in document.values() for text in of_json(value)]


def strings() -> dict[str, list[str]]:
    """Text → the files that it is in, both in order."""
    places: dict[str, list[str]] = {}
    files = [(file, of_view(file.read_text())) for file in sorted(RESOURCES.rglob("*.js"))]
    files += [(file, of_json(json.loads(file.read_text()))) for file in sorted(APP.glob("root/usr/share/**/*.json"))]
    for file, texts in files:
        for text in dict.fromkeys(texts):
            places.setdefault(text, []).append(f"applications/{APP.name}/{file.relative_to(APP)}")
    return dict(sorted(places.items()))


def catalogue() -> str:
    entries = ['msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8"\n']
    for text, files in strings().items():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        entries.append("".join(f"#: {file}\n" for file in files) + f'msgid "{escaped}"\nmsgstr ""\n')
    return "\n".join(entries)


if __name__ == "__main__":
    CATALOGUE.write_text(catalogue())
