"""Tell what a file is by its first bytes, never by its name.

Pure. Only the formats in FORMATS ever reach a decoder, and each only its own; everything else leaves here with the
reason that helps its owner most: a RAW file, a known image format that is not supported, or no image at all.
A file that begins with zero bytes counts as truncated: upload clients reserve the full size first and fill it in later.
"""

from typing import NoReturn

from tasks.errors import InputError, Reason, TruncatedError

HEAD_BYTES = 512  # 64 name every supported format; the rest is for telling SVG from other text
FORMATS = ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic")

_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),  # BigTIFF
)
# The header sizes that follow the 14 bytes of BITMAPFILEHEADER; "BM" alone begins too many texts.
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

_RAW = (
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (0, b"IIU\0", "Panasonic or Leica RW2"),
    (0, b"IIRO", "Olympus ORF"),
    (0, b"IIRS", "Olympus ORF"),
    (0, b"MMOR", "Olympus ORF"),
    (0, b"FOVb", "Sigma X3F"),
    (0, b"\0MRM", "Minolta MRW"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (8, b"IIII", "Phase One IIQ"),
    (8, b"MMMM", "Phase One IIQ"),
    (8, b"CR\x02", "Canon CR2"),
)
_OTHERS = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"MM\0+", "big-endian BigTIFF"),  # which Pillow takes for an ordinary TIFF, and loses its way in
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"\0\0\1\0", "Windows icon"),
    (0, b"icns", "Apple icon"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"gimp xcf", "GIMP XCF"),
    (0, b"v/1\1", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"\x01\xda", "SGI"),
    (0, b"farbfeld", "farbfeld"),
    (0, b"BLP", "Blizzard texture"),
    (0, b"/* XPM */", "XPM"),
    (4, b"ftypjxl ", "JPEG XL"),
    (4, b"ftypjp2 ", "JPEG 2000"),
    (4, b"ftypjpx ", "JPEG 2000"),
)
_RAW_HINT = "export it as JPEG or TIFF, or drop the JPEG that the camera wrote beside it"
_FORMAT_HINT = "convert it to JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC"


def refuse_raw(kind: str) -> NoReturn:
    """Raise the InputError for camera RAW; `kind` names the flavour."""
    # Without this the TIFF decoder opens most of them and yields the tiny preview as if it were the picture.
    raise InputError(Reason.UNSUPPORTED_RAW, f"camera RAW file ({kind}) is not supported", _RAW_HINT)


def refuse_format(kind: str) -> NoReturn:
    """Raise the InputError for an image format that is known but not supported."""
    raise InputError(Reason.UNSUPPORTED_FORMAT, f"{kind} is not a supported image format", _FORMAT_HINT)


def sniff(head: bytes) -> str:
    """Name the format of a file that begins with `head` (up to HEAD_BYTES; less only when the file is shorter).

    Returns one of FORMATS. Raises InputError (empty, unsupported_raw, unsupported_format, not_an_image), or
    TruncatedError when there is too little, or nothing but zeros, to tell.
    """
    if not head:
        raise InputError(Reason.EMPTY, "the file is empty", "upload it again")
    _refuse_raw_magic(head)
    known = _known_format(head)
    if known:
        return known
    _refuse_known_others(head)
    if not head.strip(b"\0"):
        raise TruncatedError("the file begins with zero bytes only: reserved by its client, but not yet written")
    if len(head) < 12 and any(magic.startswith(head) for magic, _ in _MAGIC):
        raise TruncatedError(f"the file ends after {len(head)} bytes, inside its signature")
    raise InputError(
        Reason.NOT_AN_IMAGE, f"not an image: it begins with {head[:12]!r}", "remove it, or see where it came from"
    )


def _known_format(head: bytes) -> str | None:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    return _heif_flavour(head)


def _heif_flavour(head: bytes) -> str | None:
    """Tell AVIF from HEIC by the brands of the ftyp box (ISO/IEC 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return None
    box = head[: min(int.from_bytes(head[:4], "big"), 64)]
    brands = {box[8:12]} | {box[at : at + 4] for at in range(16, len(box) - 3, 4)}
    if brands & _AVIF_BRANDS:
        return "avif"
    # A video may list mif1 among its compatible brands; only a HEIF file has it, or a coded flavour, first.
    return "heic" if box[8:12] in _HEIC_BRANDS else None


def _refuse_raw_magic(head: bytes) -> None:
    if head[4:12] == b"ftypcrx ":
        refuse_raw("Canon CR3")
    for at, magic, kind in _RAW:
        if head[at : at + len(magic)] == magic and (at != 8 or head[:2] in (b"II", b"MM")):
            refuse_raw(kind)


def _refuse_known_others(head: bytes) -> None:
    if head[:4] == b"\0\0\2\0":
        refuse_format("TGA" if head[4:6] == b"\0\0" else "Windows cursor")  # a cursor file holds at least one
    for at, magic, kind in _OTHERS:
        if head[at : at + len(magic)] == magic:
            refuse_format(kind)
    if head[:1] == b"P" and head[1:2] in b"1234567Ff" and head[2:3].isspace():
        refuse_format("Netpbm")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text):
        refuse_format("SVG")
