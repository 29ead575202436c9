"""Tables that are not as they should be: the text of a good one -> the bytes of a bad one. Paths are relative to the
folder of images."""

import io
from collections.abc import Callable

import pandas as pd
from hostile.case import Case

Change = Callable[[str], bytes]


def row(line: str) -> Change:
    """One more."""
    return lambda text: (text + line + "\n").encode()


def old(before: str, after: str) -> Change:
    return lambda text: text.replace(before, after).encode()


def of_columns(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    return lambda text: change(pd.read_csv(io.StringIO(text))).to_csv(index=False).encode()


def as_parquet(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    def changed(text: str) -> bytes:
        buffer = io.BytesIO()
        change(pd.read_csv(io.StringIO(text))).to_parquet(buffer)
        return buffer.getvalue()

    return changed


NO_TABLE = "stops: cannot be read as a table"
MISSING = "unusable: cannot be read (No such file"

TABLES = [
    Case("with a mark of its byte order", lambda text: b"\xef\xbb\xbf" + text.encode(), "ignored"),
    Case("with line ends of Windows", old("\n", "\r\n"), "ignored"),
    Case("in UTF-16", lambda text: text.encode("utf-16"), "ignored"),
    Case("in Latin-1", lambda text: (text + "ü.png,left\n").encode("latin-1"), MISSING),
    Case("separated by semicolons", old(",", ";"), "ignored"),
    Case("separated by tabs", old(",", "\t"), "ignored"),
    Case("without a head", lambda text: text.partition("\n")[2].encode(), "stops: must have one column named path"),
    Case("of a head only", lambda text: text.partition("\n")[0].encode(), "stops: has 0 classes"),
    Case("of nothing", lambda _: b"", NO_TABLE),
    Case("of zeros", lambda _: bytes(1000), "stops: must have one column named path"),
    Case("of HTML", lambda _: b"<html><body>404</body></html>", "stops: must have one column named path"),
    Case("Parquet, cut off", lambda text: as_parquet(lambda rows: rows)(text)[:-50], NO_TABLE),
    Case("Parquet, text that is no UTF-8", lambda text: as_parquet(lambda rows: rows)(text).replace(
        b"left/000.png", b"left/\xff00.png"
    ), NO_TABLE),
    Case("Parquet, with its rows in another order", as_parquet(lambda rows: rows.iloc[::-1]), "ignored"),
    Case("Parquet, labels that are lists", as_parquet(
        lambda rows: rows.assign(label=[[1]] * len(rows))
    ), "stops: in the column label, must be text or numbers"),
    Case("without labels", of_columns(lambda rows: rows[["path"]]), "stops: one column named label or class"),
    Case("a column twice", old("path,label", "path,path"), "stops: one column named label"),
    Case("a label that is missing", row("left/000.png,"), "stops: has no label in row"),
    Case("a label of blanks", row("left/000.png,  "), "stops: has no label in row"),
    Case("a path that is missing", row(",left"), "stops: has no path in row"),
    Case("a field too many", row("left/000.png,left,again"), "stops: has 3 fields in row 13"),
    Case("a label called NA", lambda text: text.replace(",left", ",NA").encode(), "ignored"),
    Case("labels that are numbers", of_columns(
        lambda rows: rows.assign(label=rows["label"].map(len) * 1.5)
    ), "ignored"),
    Case("one label only", of_columns(lambda rows: rows.assign(label="a")), "stops: has 1 classes"),
    Case("a row twice", row("left/000.png,left"), "ignored"),
    Case("a row twice, with another label", row("left/000.png,right"), "stops: has left/000.png twice, with another"),
    Case("a row twice, in other words", row("left/../left/000.png,right"), "stops: names 'left/../left/000.png'"),
    Case("a row twice, with a dot", row("./left/000.png,right"), "stops: has left/000.png twice, with another"),
    Case("an absolute path", row("/etc/passwd,left"), "stops: names '/etc/passwd': paths are relative"),
    Case("a path that leads out", row("../secret.png,left"), "stops: names '../secret.png'"),
    Case("a path in the home folder", row("~/secret.png,left"), MISSING),
    Case("a path of Windows", row("left\\000.png,left"), "ignored"),
    Case("a path with its drive", row("C:\\secret.png,left"), MISSING),
    Case("a URL as a path", row("http://127.0.0.1:9/secret.png,left"), MISSING),
    Case("a URL of a file as a path", row("file:///etc/passwd,left"), MISSING),
    Case("a path that is not there", row("left/gone.png,left"), MISSING),
    Case("a path of a folder", row("left,left"), "unusable: left cannot be read (Is a directory"),
    Case("a path with NUL", row("left/\0.png,left"), "unusable: cannot be read (embedded null"),
    Case("a path of 100,000 letters", row("x" * 100_000 + ",left"), "unusable: cannot be read (File name too long"),
    Case("a path that another language would run", row("=cmd|' /C calc'!A0,left"), MISSING),
    Case("a field without its closing quote", row('"left/000.png,left'), NO_TABLE),
    Case("a split that nobody knows", of_columns(lambda rows: rows.assign(split="tets")), "stops: has the split"),
]  # fmt: skip
