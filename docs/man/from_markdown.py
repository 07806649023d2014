"""Markdown, as the pages in docs/ are written, to man(7).

A table becomes a list of terms: its first column the term, the others a line of "header: cell", the last one the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from roff import Page, bold, prose

_PARSER = MarkdownIt("commonmark").enable("table")
#: Headers of columns that speak for themselves.
_SILENT = {"", "meaning"}


class UnwritableError(ValueError):
    """There is no form in a man page for this; the message says for what, and where."""


def write(page: Page, markdown: str) -> None:
    """Add `markdown` to `page`. Its title, a heading of the first level, is left out; `##` is a section."""
    tokens = iter(_PARSER.parse(markdown))
    for token in tokens:
        match token.type:
            case "heading_open":
                _heading(page, int(token.tag[1]) - 1, next(tokens))
            case "paragraph_open":
                page.paragraph(_inline(next(tokens)))
            case "fence":
                page.example(token.content.splitlines())
            case "bullet_list_open" | "ordered_list_open":
                _list(page, token, tokens)
            case "table_open":
                _table(page, tokens)
            case "heading_close" | "paragraph_close" | "html_block":
                pass
            case other:
                raise _unwritable(token, other)


def _heading(page: Page, level: int, content: Token) -> None:
    if level > 0:
        page.heading(_inline(content), level=level)


def _list(page: Page, start: Token, tokens: Iterator[Token]) -> None:
    """One level deep, a paragraph an item: more is hard to read on a terminal."""
    number = 0
    for token in _until(tokens, start.type.replace("open", "close")):
        if token.type == "inline":
            number += 1
            page.item(f"{number}." if start.type.startswith("ordered") else r"\(bu", _inline(token))
        elif token.type not in ("list_item_open", "list_item_close", "paragraph_open", "paragraph_close"):
            raise _unwritable(token, f"{token.type} in a list")


def _table(page: Page, tokens: Iterator[Token]) -> None:
    rows: list[list[str]] = []
    for token in _until(tokens, "table_close"):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(token))
    headers = rows[0]
    for row in rows[1:]:
        page.term(row[0] or r"\&", list(_told(headers[1:], row[1:])))


def _told(headers: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    named = [(header, cell) for header, cell in zip(headers, cells, strict=True) if cell]
    labelled = [f"{header}: {cell}" for header, cell in named if header not in _SILENT]
    if labelled:
        told = "; ".join(labelled)
        yield told[0].upper() + told[1:] + "."
    yield from (cell for header, cell in named if header in _SILENT)


def _inline(token: Token) -> str:
    return "".join(_pieces(token.children or []))


def _pieces(children: Sequence[Token]) -> Iterator[str]:
    """Of a link its text remains: what it leads to is told under SEE ALSO."""
    opened = {"strong_open": r"\fB", "em_open": r"\fI", "strong_close": r"\fR", "em_close": r"\fR"}
    for child in children:
        match child.type:
            case "text":
                yield prose(child.content)
            case "code_inline":
                yield bold(child.content)
            case "softbreak" | "hardbreak":
                yield " "
            case "link_open" | "link_close":
                pass
            case kind if kind in opened:
                yield opened[kind]
            case other:
                raise _unwritable(child, other)


def _until(tokens: Iterator[Token], end: str) -> Iterator[Token]:
    for token in tokens:
        if token.type == end:
            return
        yield token


def _unwritable(token: Token, what: str) -> UnwritableError:
    line = f" at line {token.map[0] + 1}" if token.map else ""
    return UnwritableError(f"{what}{line}: write it another way, or teach docs/man/from_markdown.py")
