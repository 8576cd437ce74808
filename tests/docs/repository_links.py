"""An mdBook preprocessor: links that leave the folder of the book lead to pages of the book, or to the repository.

Pages link as files of the repository do, so that they can be read there too. `project/` has those of the top of the
repository as pages. A link to a file that does not exist ends the build. `repository_links.py check FILE...` looks at
the links of Markdown files that are in no book.
"""

import json
import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
INCLUDE = re.compile(r"\{\{#include \.\./\.\./(\S+)\}\}")
# By file of the repository.
PROJECT_PAGES = {
    INCLUDE.match(page.read_text())[1]: "project/" + page.name for page in (DOCS / "project").glob("*.md")
}
# A span of code, or a link with its text.
LINK = re.compile(r"(`[^`]*`)|\[((?:`[^`]*`|[^\[\]])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^\s*(```|~~~)")


def is_elsewhere(target):
    return re.match(r"[a-z][a-z0-9+.-]*:", target) is not None


def replaced_links(text, replace):
    """The text, with each link as `replace(link text, target)` says."""
    lines, fenced = [], False
    for line in text.split("\n"):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            line = LINK.sub(lambda match: match[1] or replace(match[2], match[3]), line)
        lines.append(line)
    return "\n".join(lines)


class Links:
    """Of one page: where it is in the repository, and where in the book."""

    def __init__(self, page, repository_url, dead):
        self.of_book = page
        project = {value: key for key, value in PROJECT_PAGES.items()}
        self.folder = posixpath.dirname(project.get(page, "docs/" + page))
        self.repository_url = repository_url
        self.dead = dead

    def replace(self, text, target):
        link = f"[{text}]({target})"
        path, mark, anchor = target.partition("#")
        if is_elsewhere(target) or not path:
            return link
        file = posixpath.normpath(posixpath.join(self.folder, path))
        if not (ROOT / file).exists():
            self.dead.append(f"{self.of_book}: {target}: there is no {file}")
            return link
        page = PROJECT_PAGES.get(file)
        if page is None and file.startswith("docs/") and file.endswith(".md"):
            page = file.removeprefix("docs/")
        if page is not None:
            # mdBook makes the page of a folder its index.
            page = re.sub(r"(^|/)README\.md$", r"\1index.md", page)
            here = posixpath.dirname(self.of_book)
            return f"[{text}]({posixpath.relpath(page, here or '.')}{mark}{anchor})"
        if self.repository_url:
            return f"[{text}]({self.repository_url}{file}{mark}{anchor})"
        return text if "`" in text or file in text else f"{text} (`{file}`)"


def preprocess(items, repository_url, dead):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter is None:
            continue
        if chapter["source_path"] is not None:
            links = Links(chapter["source_path"], repository_url, dead)
            chapter["content"] = replaced_links(chapter["content"], links.replace)
        preprocess(chapter["sub_items"], repository_url, dead)


def page_at(path, parent):
    """A chapter that SUMMARY.md does not name."""
    content = (DOCS / path).read_text()
    title = content.split("\n", 1)[0].removeprefix("# ")
    return {"Chapter": {
        "name": title, "content": content, "number": None, "sub_items": [], "path": path, "source_path": path,
        "parent_names": [parent],
    }}


def add_runbooks(items):
    """One a page of `runbooks`, below its README.md: there are many, and alerts come and go."""
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter and chapter["source_path"] == "runbooks/README.md":
            pages = sorted(page.name for page in (DOCS / "runbooks").glob("*.md") if page.name != "README.md")
            chapter["sub_items"] = [page_at("runbooks/" + page, chapter["name"]) for page in pages]


def give_up(dead):
    if dead:
        sys.exit("\n".join(["dead links:", *dead]))


def check(files):
    dead = []
    for file in files:
        links = Links(file, "", dead)
        links.folder = posixpath.dirname(file)
        replaced_links((ROOT / file).read_text(), links.replace)
    give_up(dead)


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    if sys.argv[1:2] == ["check"]:
        check(sys.argv[2:])
        return
    context, book = json.load(sys.stdin)
    settings = context["config"]["preprocessor"]["repository"]
    dead = []
    items = book.get("items", book.get("sections", []))
    add_runbooks(items)
    preprocess(items, settings.get("url", ""), dead)
    give_up(dead)
    json.dump(book, sys.stdout)


main()
