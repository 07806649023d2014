"""Figures in a few characters, for columns."""

from __future__ import annotations

_UNITS = ("", "k", "M", "G", "T", "P", "E")
_TIMES = ((86400, "d"), (3600, "h"), (60, "m"))


def short(value: float) -> str:
    """Five characters at most: 99999, then three digits and a unit of 1000: 100k, 1.23M."""
    whole = round(value)
    if whole < 100_000:
        return str(whole)
    power = (len(str(whole)) - 1) // 3
    scaled = whole / 1000**power
    if scaled >= 999.5:
        power, scaled = power + 1, scaled / 1000
    if power >= len(_UNITS):
        return "huge"
    decimals = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
    return f"{scaled:.{decimals}f}{_UNITS[power]}"


def seconds(value: float) -> str:
    """Four characters at most: 0.3, 59, 12m, 3h, 99d."""
    if value < 9.95:
        return f"{value:.1f}"
    for size, unit in _TIMES:
        if value >= 10 * size or (size == 60 and value >= 1000):
            return f"{value // size:.0f}{unit}" if value < 1000 * size else "old"
    return str(int(value))


def printable(text: str) -> str:
    """What cannot move the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def cut(text: str, width: int, mark: str = "…") -> str:
    """In `width` characters: what is too long loses its middle, and keeps its end, where a port stands."""
    if len(text) <= width:
        return text
    if width < 8:
        return text[:width]
    tail = min(width // 2, len(text) - text.rfind(":") if ":" in text else 3, 7)
    return f"{text[: width - tail - 1]}{mark}{text[-tail:]}"
