"""Archives that are broken, lie or lead elsewhere: each is written to the path that is given. Beside the bad thing they
hold the good images."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hostile.case import Case
from hostile.images import small_png

Write = Callable[[Path], None]
Members = dict[str, bytes]


def good() -> Members:
    return {path.relative_to("images").as_posix(): path.read_bytes() for path in sorted(Path("images").rglob("*.png"))}


def zip_with(change: Callable[[zipfile.ZipFile], None], packing: int = zipfile.ZIP_STORED) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", packing) as archive:
            for name, content in good().items():
                archive.writestr(name, content)
            change(archive)

    return write


def zip_of(name: str) -> Write:
    return zip_with(lambda archive: archive.writestr(zipfile.ZipInfo(name), small_png()))


def changed(write: Write, change: Callable[[bytes], bytes]) -> Write:
    """What `write` wrote, with other bytes."""

    def write_changed(path: Path) -> None:
        write(path)
        path.write_bytes(change(path.read_bytes()))

    return write_changed


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def in_last(content: bytes, old: bytes, new: bytes) -> bytes:
    before, found, after = content.rpartition(old)
    assert found
    return before + new + after


def tar_with(change: Callable[[tarfile.TarFile], None], mode: str = "w", format_: int = tarfile.PAX_FORMAT) -> Write:
    def write(path: Path) -> None:
        with tarfile.open(path, mode, format=format_) as archive:
            for name, content in good().items():
                add(archive, name, content)
            change(archive)

    return write


def add(archive: tarfile.TarFile, name: str, content: bytes, **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content))


def tar_of(name: str, **fields: object) -> Write:
    return tar_with(lambda archive: add(archive, name, b"" if fields else small_png(), **fields))


def plain_tar(path: Path) -> None:
    tar_of("left/new.png")(path)


def packed_tar(path: Path) -> None:
    tar_with(lambda archive: add(archive, "left/new.png", small_png()), "w:gz")(path)


def raw_header(**fields: object) -> bytes:
    info = tarfile.TarInfo("left/raw.png")
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def tar_ending_in(tail: Callable[[], bytes]) -> Write:
    """Without its end, which `tail` may have."""

    def write(path: Path) -> None:
        plain_tar(path)
        path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(512 - len(path.read_bytes().rstrip(b"\0")) % 512))
        path.write_bytes(path.read_bytes() + tail())

    return write


def overlapping(path: Path) -> None:
    """A thousand names of the same packed bytes, as in Fifield's zip bomb."""
    zip_with(lambda archive: archive.writestr("left/a.png", bytes(2**20)), zipfile.ZIP_DEFLATED)(path)
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("left/a.png")
        for index in range(1000):
            again = zipfile.ZipInfo(f"left/{index}.png")
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(again, field, getattr(first, field))
            archive.filelist.append(again)
        archive.NameToInfo.update({info.filename: info for info in archive.filelist})
        archive._didModify = True


def nested_headers(path: Path) -> None:
    """Long names of long names without end."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    path.write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"x" + bytes(511)) * 3000 + bytes(1024))


def twice_in_zip(archive: zipfile.ZipFile) -> None:
    archive.writestr("left/twice.png", b"<html>")
    archive.NameToInfo.pop("left/twice.png")  # which would warn
    archive.writestr("left/twice.png", small_png())


def containing(content: bytes) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("left/new.png")
    info.external_attr = 0o120777 << 16
    return info


def changed_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../evil.png", b"x")
    return buffer.getvalue()


NO_ARCHIVE = "stops: cannot be read as a zip or tar archive"
NO_FILE = "stops: no plain file but a link, a device or sparse"
LEADING_OUT = ["../evil.png", "/tmp/evil.png", "left/../../evil.png", "left\\..\\evil.png", "C:\\evil.png"]

ZIPS = [
    *[Case(f"zip, {name}", zip_of(name), "stops: leads out of it") for name in LEADING_OUT],
    Case("zip, encrypted member", changed(
        # A flag of the last member, in its own header and in the directory.
        zip_of("left/new.png"), lambda content: in_last(in_last(
            content, b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0"
        ), b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
    ), "unusable: left/new.png cannot be read (File 'left/new.png' is encrypted"),
    Case("zip, member packed in an unknown way", changed(
        zip_of("left/new.png"), lambda content: in_last(in_last(
            content, b"PK\3\4\x14\0\0\0\0\0", b"PK\3\4\x14\0\0\0\x63\0"
        ), b"PK\1\2\x14\3\x14\0\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x63\0"),
    ), "unusable: left/new.png cannot be read (That compression method is not supported"),
    Case("zip, member with another sum", changed(
        zip_of("left/new.png"), lambda content: in_last(content, b"IDAT", b"IDAt")
    ), "unusable: left/new.png cannot be read (Bad CRC-32"),
    Case("zip, member larger than it says", changed(
        zip_with(lambda archive: archive.writestr("left/new.png", bytes(5000)), zipfile.ZIP_DEFLATED),
        lambda content: in_last(content, struct.pack("<I", 5000), struct.pack("<I", 50)),
    ), "unusable: left/new.png cannot be read (Bad CRC-32"),
    Case("zip, members above the limit together", zip_with(
        lambda archive: archive.writestr("left/new.png", bytes(100 * 2**20)), zipfile.ZIP_DEFLATED
    ), "stops: unpacks to more than"),
    Case("zip, overlapping members", overlapping, "stops: unpacks to more than"),
    Case("zip, name twice", zip_with(twice_in_zip), "usable"),
    Case("zip, NUL in a name", changed(
        zip_of("left/new.pngX.txt"), lambda content: content.replace(b"new.pngX", b"new.png\0")
    ), "usable"),
    Case("zip, name that is no UTF-8", changed(
        zip_of("left/neü.png"), lambda content: content.replace("ü".encode(), b"\xff\xff")
    ), NO_ARCHIVE),
    Case("zip, name of no letters", changed(
        zip_of("left/new.png"), lambda content: in_last(content, b"\0\x0c\0\0\0", b"\0\0\0\x0c\0")
    ), NO_ARCHIVE),
    Case("zip, emoji and line break in a name", zip_of("left/🙂\n.png"), "usable"),
    Case("zip, link", zip_with(lambda archive: archive.writestr(link(), "/etc/passwd")), "unusable: no format"),
    Case("zip, folder named like an image", zip_of("left/new.png/"), "ignored"),
    Case("zip, hidden and of macOS", zip_with(lambda archive: [
        archive.writestr(name, b"x") for name in ("left/.x.png", ".git/x.png", "__MACOSX/left/._x.png")
    ]), "skipped: __MACOSX: of the system"),
    Case("zip, broken table inside", zip_with(
        lambda archive: archive.writestr("list.csv", b"\xff\xfe")
    ), "stops: list.csv in packed cannot be read as a table"),
    Case("zip, empty table inside", zip_with(
        lambda archive: archive.writestr("list.csv", b"")
    ), "stops: the table list.csv in packed has 0 bytes"),
    Case("zip, table inside that leads out", zip_with(lambda archive: archive.writestr(
        "list.csv", b"path,label\nleft/000.png,left\n../secret.png,right\n"
    )), "stops: list.csv in packed names '../secret.png'"),
    Case("zip, cut off", changed(zip_of("left/new.png"), half), NO_ARCHIVE),
    Case("zip, garbage before it", changed(zip_of("left/new.png"), lambda content: bytes(100) + content), "usable"),
    Case("zip, directory of noise", changed(
        zip_of("left/new.png"), lambda content: content.replace(b"PK\1\2", b"PK\xff\xff")
    ), NO_ARCHIVE),
]  # fmt: skip

TARS = [
    *[Case(f"tar, {name}", tar_of(name), "stops: leads out of it") for name in LEADING_OUT],
    Case("tar, link", tar_of("left/new.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), NO_FILE),
    Case("tar, linked class", tar_of("new", type=tarfile.SYMTYPE, linkname="left"), NO_FILE),
    Case("tar, hard link", tar_of("left/new.png", type=tarfile.LNKTYPE, linkname="left/000.png"), NO_FILE),
    Case("tar, pipe", tar_of("left/new.png", type=tarfile.FIFOTYPE), NO_FILE),
    Case("tar, device", tar_of("left/new.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5), NO_FILE),
    Case("tar, sparse member of a terabyte", tar_of(
        "left/new.png", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(2**40)}
    ), NO_FILE),
    Case("tar, name of 3,000 letters", tar_of("left/" + "x" * 3000 + ".png"), "usable"),
    Case("tar, name that is no UTF-8", tar_with(
        lambda archive: add(archive, "left/\udcff.png", small_png()), format_=tarfile.GNU_FORMAT
    ), "usable"),
    Case("tar, name twice", tar_with(lambda archive: [
        add(archive, "left/new.png", content) for content in (b"<html>", small_png())
    ]), "usable"),
    Case("tar, zip as its last member", tar_with(
        lambda archive: add(archive, "more.zip", changed_zip())
    ), "ignored"),
    Case("tar, member of a negative size", tar_ending_in(
        lambda: raw_header(size=-512) + bytes(1024)
    ), "stops: cannot be read as a zip or tar archive (left/raw.png has -512 bytes)"),
    Case("tar, member beyond the end", tar_ending_in(
        lambda: raw_header(size=2**40)
    ), "stops: cannot be read as a zip or tar archive (unexpected end of data)"),
    Case("tar, damaged header", tar_ending_in(lambda: b"\xff" * 512 + bytes(1024)), "stops: it is damaged or cut off"),
    Case("tar, cut off between two members", tar_ending_in(lambda: b""), "stops: it is damaged or cut off"),
    Case("tar, headers of headers", nested_headers, NO_ARCHIVE),
    Case("tar, empty", containing(bytes(10_240)), "stops: has 0 class folders"),
    Case("tar.gz, cut off", changed(packed_tar, half), NO_ARCHIVE),
    Case("tar.gz, in two pieces", changed(plain_tar, lambda content: (
        gzip.compress(content[:2000]) + gzip.compress(content[2000:])
    )), "usable"),
    Case("tar.gz, garbage behind it", changed(packed_tar, lambda content: content + b"garbage"), NO_ARCHIVE),
    Case("tar.gz, bomb", changed(plain_tar, lambda _: gzip.compress(bytes(100 * 2**20))), "stops: unpacks to more"),
    Case("tar.gz, a byte changed", changed(packed_tar, lambda content: (
        content[:1000] + bytes([content[1000] ^ 0xFF]) + content[1001:]
    )), NO_ARCHIVE),
]  # fmt: skip

NO_ARCHIVES = [
    Case(f"archive of {name}", containing(content), "stops: cannot be read as")
    for name, content in {
        "nothing": b"", "HTML": b"<html>", "the start of a zip": b"PK\3\4broken", "the start of a gzip": b"\x1f\x8bx",
        "ten zeros": bytes(10), "xz": b"\xfd7zXZ\0" + bytes(100), "7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
    }.items()
]  # fmt: skip

ARCHIVES = [*ZIPS, *TARS, *NO_ARCHIVES]
