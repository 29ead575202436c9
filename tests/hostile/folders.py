"""Things that lie in a folder of images, beside the good ones. Each is put into the folder that is given."""

import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

from hostile.case import Case
from hostile.images import noise, rgb, saved, small_png

Put = Callable[[Path], None]


def file(name: str, content: bytes | None = None) -> Put:
    def put(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_png() if content is None else content)

    return put


def named(name: bytes) -> Put:
    """Not every name is text."""

    def put(root: Path) -> None:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(small_png())

    return put


def a_class(name: str, count: int = 4) -> Put:
    def put(root: Path) -> None:
        for index in range(count):
            image = noise(8, 8, seed=zlib.crc32(os.fsencode(name)) + index)
            file(f"{name}/{index}.png", saved(image, "PNG"))(root)

    return put


def classes(*names: str) -> Put:
    def put(root: Path) -> None:
        for name in names:
            a_class(name)(root)

    return put


def link(name: str, target: str) -> Put:
    """`target` from the folder of the link, or absolute."""

    def put(root: Path) -> None:
        (root / name).symlink_to(target)

    return put


def outside(root: Path) -> Path:
    folder = root.resolve().parent / "outside"
    folder.mkdir()
    (folder / "secret.png").write_bytes(small_png())
    return folder


def link_out(name: str, target: str = "") -> Put:
    return lambda root: (root / name).symlink_to(outside(root) / target)


def a_socket(root: Path) -> None:
    here = Path.cwd()
    os.chdir(root / "left")  # its path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("new.png")
    finally:
        os.chdir(here)


def may_not_be_read(name: str) -> Put:
    def put(root: Path) -> None:
        if not (root / name).exists():
            file(name)(root)
        (root / name).chmod(0)

    return put


FILES = [
    Case("hidden file", file("left/.new.png"), "skipped: left/.new.png: hidden"),
    Case("hidden folder", file("left/.git/new.png"), "skipped: left/.git: hidden"),
    Case("of macOS", file("left/._000.png", b"\0\5\x16\7"), "skipped: left/._000.png: hidden"),
    Case(".DS_Store", file(".DS_Store", b"Bud1"), "skipped: .DS_Store: hidden"),
    Case("Thumbs.db", file("left/Thumbs.db", b"\xd0\xcf\x11\xe0"), "skipped: left/Thumbs.db: not an image"),
    Case("desktop.ini", file("desktop.ini", b"[x]"), "skipped: desktop.ini: outside the class folders"),
    Case("thumbnails of a file server", file("left/@eaDir/new.png/S.jpg", rgb("JPEG")), "skipped: left/@eaDir: of the"),
    Case("file of another kind", file("left/notes.txt", b"x"), "skipped: left/notes.txt: not an image"),
    Case("empty file without an extension", file("left/new", b""), "skipped: left/new: not an image"),
    Case("text that begins like a BMP", file("left/new.txt", b"BMI,age,sex\n" * 9), "skipped: left/new.txt: not an"),
    Case("camera's raw file", file("left/new.nef", rgb("TIFF")), "skipped: left/new.nef: not an image"),
    Case("image outside of the classes", file("new.png"), "skipped: new.png: outside the class folders"),
    Case("editor's copy", file("left/000.png~"), "usable"),
    Case("image without an extension", file("left/new", rgb("JPEG")), "usable"),
    Case("TIFF without an extension", file("left/new", rgb("TIFF")), "usable"),
    Case("image named .jfif", file("left/new.jfif", rgb("JPEG")), "usable"),
    Case("image that was downloaded twice", file("left/new.JPG.1", rgb("JPEG")), "usable"),
    Case("image named like a text", file("left/new.txt", rgb("WEBP")), "usable"),
    Case("page that is named like an image", file("left/new.jfif", b"<html>"), "unusable: left/new.jfif cannot be"),
    Case("pipe without an extension", lambda root: os.mkfifo(root / "left/new"), "skipped: left/new: is no file but"),
    Case("folder named like an image", lambda root: (root / "left/new.png").mkdir(), "ignored"),
    Case("image in a folder named like one", file("left/folder.png/new.png"), "usable"),
    Case("fifty folders deep", file("left/" + "deep/" * 50 + "new.png"), "usable"),
    Case("JPEG with the extension of PNG", file("left/new.png", rgb("JPEG")), "usable"),
    Case("extension in capitals", file("left/NEW.PNG"), "usable"),
    Case("pipe", lambda root: os.mkfifo(root / "left/new.png"), "unusable: left/new.png is no file but"),
    Case("socket", a_socket, "unusable: left/new.png cannot be read (No such device"),
    Case("device", link("left/new.png", "/dev/zero"), "stops: links out of images"),
    Case("link to another image", link("left/new.png", "000.png"), "usable"),
    Case("link to an image by its whole path", lambda root: (root / "left/new.png").symlink_to(
        (root / "left/000.png").resolve()
    ), "usable"),
    Case("link to nothing", link("left/new.png", "gone.png"), "unusable: left/new.png cannot be read (No such file"),
    Case("link to itself", link("left/new.png", "new.png"), "unusable: left/new.png cannot be read"),
    Case("link to the folder above", link("left/again", ".."), "ignored"),
    Case("links in a circle", lambda root: [link("left/a", "b")(root), link("left/b", "a")(root)],
         "skipped: left/a: cannot be read (Too many levels"),
    Case("class that is a link to another", link("new", "left"), "ignored"),
    Case("link to an image outside", link_out("left/new.png", "secret.png"), "stops: images/left/new.png links out of"),
    Case("link to a folder outside", link_out("new"), "stops: images/new links out of images: copy what it leads to"),
    Case("link to a file of the system", link("left/new.png", "/etc/passwd"), "stops: links out of images"),
    Case("link up and down again", link("left/new.png", "../../images/left/000.png"), "usable"),
]  # fmt: skip

FORBIDDEN = [
    Case("file that may not be read", may_not_be_read("left/new.png"), "unusable: left/new.png cannot be read (Perm"),
    Case("folder that may not be read", may_not_be_read("left"), "stops: images/left cannot be read (Permission"),
    Case("class that may not be read", may_not_be_read("new/1.png"), 'stops: class "new" has 0 left'),
]

NAMES = [
    Case("line break in a name", file("left/a\nb.png"), "usable"),
    Case("colours of a terminal in a name", file("left/\x1b[31mred.png"), "usable"),
    Case("emoji in a name", file("left/grün 🙂.png"), "usable"),
    Case("writing from right to left in a name", file("left/\u202egnp.png"), "usable"),
    Case("name of 255 bytes", file("left/" + "x" * 251 + ".png"), "usable"),
    Case("name of a blank", file("left/ .png"), "usable"),
    Case("name like a command", file("left/a;rm -rf $HOME.png"), "usable"),
    Case("name like an option", file("left/-rf.png"), "usable"),
    Case("name like a URL", file("left/https:%2F%2Fexample.org%2F1.png"), "usable"),
    Case("name like a pattern", file("left/*.png"), "usable"),
    Case("backslash in a name", file("left/a\\b.png"), "usable"),
    Case("name like the escape of another", file("left/\\xff.png"), "usable"),
    Case("name that is no UTF-8", named(b"left/\xff\xfe.png"), "usable"),
    Case("name in Latin-1", named("left/grün.png".encode("latin-1")), "usable"),
]

CLASSES = [
    Case("class without a file", lambda root: (root / "new").mkdir(), "ignored: new"),
    Case("class without an image", file("new/notes.txt", b"x"), "stops: 1 class folder of images without an image"),
    Case("class of hidden images", file("new/.1.png"), "skipped: new/.1.png: hidden"),
    Case("class of one image", a_class("new", 1), 'stops: class "new" has 1 left'),
    Case("class whose images are all broken", file("new/1.png", b"x"), 'stops: class "new" has 0 left'),
    Case("class called test", a_class("test"), "usable"),
    Case("class called CON", a_class("CON"), "usable"),
    Case("class of a blank", a_class(" "), "usable"),
    Case("class with a line break", a_class("new\nline"), "usable"),
    Case("class of emoji", a_class("🙂"), "usable"),
    Case("class of 255 bytes", a_class("x" * 255), "usable"),
    Case("class that is no UTF-8", a_class(os.fsdecode(b"\xff\xfe")), "usable"),
    Case("class of markup", a_class("<script>alert(1)<"), "usable"),
    Case("class that is a number", a_class("7"), "usable"),
]  # fmt: skip

ALIKE = [
    Case("classes that differ in case", a_class("LEFT"), '"LEFT" and "left" differ only in case'),
    Case("classes that differ in a blank behind them", a_class("left "), '"left" and "left " differ only in blanks'),
    Case(
        "classes that differ in how ü is written",
        classes("gr\u00fcn", "gru\u0308n"),
        '"gru\u0308n" and "gr\u00fcn" differ only in how a letter is encoded',
    ),
]

FOLDERS = [*FILES, *NAMES, *CLASSES]
