#!/usr/bin/env python3
"""Checks the links of a built book: `links.py FOLDER`. Each page, picture and anchor that a page refers to has to be in the book.

Links to other sites have to be https, apart from addresses of this machine; nothing is requested from them. Files of the sources that
a page names, such as `src/http/mod.rs`, have to exist.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page refers to, and the anchors that it has."""

    def __init__(self, file):
        super().__init__()
        self.targets, self.anchors = [], set()
        self.feed(file.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value)
            elif (tag, name) in (("a", "href"), ("img", "src")) and value:
                self.targets.append((self.getpos()[0], value))


def mistake(book, pages, file, target):
    """Why a reference leads nowhere; None if it is good."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        local = parts.hostname in ("127.0.0.1", "localhost")
        return None if parts.scheme == "https" or local else "not https"
    found = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if not found.is_file() or not found.is_relative_to(book):
        return "not in the book"
    if parts.fragment and unquote(parts.fragment) not in pages[found].anchors:
        return "no such anchor"
    return None


def missing_files():
    """The files that pages name but that are not there. Names of Rust files may begin below src/."""
    root = Path(__file__).resolve().parents[2]
    for page in [root / "README.md", root / "ARCHITECTURE.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for name in re.findall(r"`((?:src|tests|build|config|docs|helm|openapi)/[\w./-]+|(?:[\w-]+/)+\w+\.rs)`", line):
                if not (root / name).exists() and not (root / "src" / name).exists():
                    yield f"{page.name}:{number}: {name}: no such file"


def main():
    book = Path(sys.argv[1]).resolve()
    # The page for printing has all others in it, with links among its parts; the page for missing ones is below any address.
    pages = {file: Page(file) for file in sorted(book.glob("*.html")) if file.name not in ("print.html", "404.html")}
    seen, mistakes = 0, list(missing_files())
    for file, page in pages.items():
        for line, target in page.targets:
            seen += 1
            if wrong := mistake(book, pages, file, target):
                mistakes.append(f"{file.name}:{line}: {target}: {wrong}")
    print("\n".join(mistakes))
    print(f"book: {len(pages)} pages, {seen} references, {len(mistakes)} wrong")
    sys.exit(1 if mistakes or seen < 100 else 0)


if __name__ == "__main__":
    main()
