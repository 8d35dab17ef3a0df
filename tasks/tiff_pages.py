"""Choose the page of a TIFF that is its picture, the first unless that calls itself a smaller copy, and read it right.

Scanners and image databases put a preview before the picture; TIFF 6.0 marks it (NewSubfileType, page 36). A camera RAW
file that is made so never gets here (tasks/tiff_tags.py).
"""

from PIL import Image, ImageFile, ImagePalette

_SUBFILE_TYPE, _REDUCED = 254, 1
_BITS, _SAMPLES, _PLANES, _SEPARATE, _COLOUR_MAP = 258, 277, 284, 2, 320
_NOT_DECODED = ("webp",)  # by the libtiff in Pillow's wheels
_MAX_PAGES = 10  # that are looked at; each is a directory, not a decoding
# What Pillow raises for a directory that is none.
_NO_PAGE = (EOFError, OSError, ValueError, SyntaxError, LookupError, TypeError)


def turn_to_the_picture(image: Image.Image) -> None:
    """Seek to the first of the first pages that is no reduced copy; stay at the first where all are."""
    for page in range(_MAX_PAGES):
        try:
            image.seek(page)
        except _NO_PAGE:
            break
        if not _is_reduced(image):
            return
    image.seek(0)


def require_decodable(image: Image.Image, size_bytes: int) -> None:
    """Raise OSError when a strip of the page begins beyond the end of the file, or is compressed as no decoder here can.

    Pillow would ask for everything between one strip and the next at once, 279 MB for a file of 3 kB; and libtiff would
    say of the other no more than that something went wrong.
    """
    compression = image.info.get("compression")
    if compression in _NOT_DECODED:
        raise OSError(f"compression {compression} is not supported")
    beyond = max((tile[2] for tile in getattr(image, "tile", [])), default=0)
    if beyond >= size_bytes:
        raise OSError(f"image file is truncated: it has {size_bytes} bytes, and a strip begins at byte {beyond}")


def put_right(image: Image.Image) -> None:
    """Let a page be decoded as libtiff does it, where Pillow's own way gives noise or black.

    Its reader takes the samples of planes that are not compressed for 8 bits, and a single one for a plane; and a colour map
    that goes to 255 only, as old programs wrote it, for the nearly black one that it is by the letter (TIFF 6.0, page 23:
    to 65535).
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANES) == _SEPARATE and tags.get(_SAMPLES, 1) == 1:
        tags[_PLANES] = 1
        image._setup()  # type: ignore[attr-defined]  # noqa: SLF001
    has_raw_tiles = image.tile and image.tile[0].codec_name == "raw"  # type: ignore[attr-defined]
    if has_raw_tiles and tags.get(_PLANES) == _SEPARATE and tags.get(_BITS, (8,))[0] == 16:
        image.use_load_libtiff = True  # type: ignore[attr-defined]
        args = (f"{image.mode};16N", False, getattr(tags, "offset", 0))
        image.tile = [ImageFile._Tile("libtiff", (0, 0, *image.size), 0, args)]  # type: ignore[attr-defined]  # noqa: SLF001
    colours = tags.get(_COLOUR_MAP, ())
    if image.mode == "P" and colours and max(colours) < 256:
        image.palette = ImagePalette.raw("RGB;L", tuple(colours))


def _is_reduced(image: Image.Image) -> bool:
    kind = getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & _REDUCED)
