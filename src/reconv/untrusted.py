"""Text from data (names of classes and files, tags, library messages about a file), made harmless where it is shown.

A folder may have any name: one that sets a terminal's title, that a spreadsheet runs as a formula, or that a page reads
as markup. Values in computations stay unchanged; only what people see is changed, everywhere in the same way.
"""

import html
import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # https://owasp.org/www-community/attacks/CSV_Injection
_ESCAPED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def printable(text: str) -> str:
    r"""Return one line for any terminal, with escapes for what is not printable (\x1b, \n, \u202e).

    That is control characters, line ends, marks that change the direction of writing, and what has no width.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, but with its line ends and tabs."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def as_cell(text: str) -> str:
    """Return `text` for a CSV file that a spreadsheet opens: with an apostrophe before what would be a formula.

    A number stays a number.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_cell(cell: str) -> str:
    """Return what `as_cell` was given."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def as_label(text: str) -> str:
    """Return `text` for a figure of plotly, which reads tags and entities in labels."""
    return html.escape(printable(text), quote=False)


def as_plotted(text: str) -> str:
    """Return `text` for a table that `dvc plots` draws: it writes values into a script of its page as they are."""
    return printable(text).replace("<", "‹")


def without_links(markdown: str) -> str:
    """Return our own Markdown without links, pictures and HTML, which only names in it can contain."""
    return markdown.replace("](", "]\\(").replace("<", "&lt;")
