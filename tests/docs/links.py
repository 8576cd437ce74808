"""Follows every link of a built book from its first page: `links.py FOLDER`.

Fails for a link to a file or an anchor that is not there, and for a page that no link leads to. Links to other machines
are looked at for their form only. LinkChecker, which does as much, takes a minute and a half for this book.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FIRST = "index.html"
# mdBook makes them, and no page links to them.
BESIDE = {"404.html", "toc.html"}
SCHEMES = {"https", "http", "mailto"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def main():
    folder = Path(sys.argv[1]).resolve()
    pages = {path: Page(path.read_text()) for path in folder.rglob("*.html")}
    # The list of all pages is in a file of its own, which a script puts into each page.
    dead, links, waiting, reached = [], 0, [folder / FIRST], set()
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        for link in pages[path].links:
            links += 1
            where = f"{path.relative_to(folder)}: {link}"
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if parts.scheme not in SCHEMES or (parts.scheme != "mailto" and "." not in parts.netloc):
                    dead.append(f"{where}: no address")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or not target.is_relative_to(folder):
                dead.append(f"{where}: there is no such file")
            elif target in pages:
                waiting.append(target)
                if parts.fragment and unquote(parts.fragment) not in pages[target].anchors:
                    dead.append(f"{where}: there is no such anchor")
    alone = sorted(str(path.relative_to(folder)) for path in set(pages) - reached)
    dead += [f"{page}: no link leads to it" for page in alone if page not in BESIDE]
    print(f"{links} links of {len(reached)} pages")
    if dead:
        sys.exit("\n".join(["dead links:", *dead]))


main()
