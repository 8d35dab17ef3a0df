"""Read what a file says about itself, and refuse what is too much, before a single pixel is decoded.

Format by content, then the limits in the order of their cost: bytes, frames and scans from the container, pixels and
memory from the decoder's own reading of the header. Every refusal names the figure and its limit.
"""

from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from PIL import Image

from config.settings import LimitSettings
from tasks.codecs import decoder_failures_named, open_image
from tasks.containers import Ending, ending_of
from tasks.errors import InputError, Reason, TruncatedError
from tasks.gif_blocks import walk_gif
from tasks.jpeg_markers import JpegStructure, walk_jpeg
from tasks.sniff import HEAD_BYTES, refuse_format, refuse_raw, sniff
from tasks.tiff_tags import raw_flavour

# A progressive JPEG of 30 kB with a thousand scans decodes for seconds; camera and web files have at most 15.
MAX_SCANS = 100
# Only the first frame is decoded, but counting them has a price, and nobody drops such a file as a photo.
MAX_FRAMES = 10_000
# What the pixels of one file may take while it is decoded: a phone's 200 MP HEIC fits, a 34-byte WebP of 169 MP does not.
MAX_DECODE_BYTES = 1_500_000_000

# Measured, beyond the picture itself, in bytes a pixel: WebP keeps two canvases and its own planes, AVIF up to 16 bits.
_DECODER_BYTES = {"webp": 12, "avif": 10, "heic": 3}
_STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # all other modes take 4
_ORIENTATION_TAG = 274


@dataclass(frozen=True, slots=True)
class Header:
    """What is known before decoding.

    `format` is one of `tasks.sniff.FORMATS`; `width` and `height` are pixels as the decoder gives them (not yet turned by
    EXIF); `mode` is Pillow's; `max_pixels` the limit that the file passed, which holds for its decoder too.
    """

    format: str
    width: int
    height: int
    mode: str
    frames: int
    size_bytes: int
    max_pixels: int


def read_header(file: BinaryIO, size_bytes: int, limits: LimitSettings) -> Header:
    """Read the header of `file`, which has `size_bytes`, and check it against every limit.

    Raises InputError with the reason (empty, not_an_image, unsupported_format, unsupported_raw, too_many_*,
    too_much_memory, corrupt), TruncatedError when the file looks cut off, or what `from_os_error` makes of a failed read.
    """
    if size_bytes > limits.max_bytes:
        _refuse(
            Reason.TOO_MANY_BYTES, "bytes", size_bytes, limits.max_bytes, "raise limits.max_bytes, or make it smaller"
        )
    with decoder_failures_named(file, "file", size_bytes):
        file.seek(0)
        head = file.read(HEAD_BYTES)
        kind = sniff(head)
    with decoder_failures_named(file, kind, size_bytes):
        structure = _check_structure(file, head, kind, size_bytes, limits.max_pixels)
        image = open_image(file, kind, limits.max_pixels)
        frames = structure.frames or int(getattr(image, "n_frames", 1))
        _check_frames(frames)
        _check_size(*image.size, limits.max_pixels, _bytes_per_pixel(image, kind) + structure.coefficient_bytes)
    return Header(kind, *image.size, image.mode, frames, size_bytes, limits.max_pixels)


@dataclass(frozen=True, slots=True)
class _Structure:
    """What the container says before a decoder sees it; `frames` 0 means: ask the decoder, for it is cheap there."""

    frames: int = 0
    coefficient_bytes: int = 0  # a pixel, held until the last scan of a progressive JPEG


def _check_structure(file: BinaryIO, head: bytes, kind: str, size_bytes: int, max_pixels: int) -> _Structure:
    # Before the decoder is made (WebP's takes its memory then), and before a bomb that is cut off could be waited for.
    _check_size(*_canvas(head, kind), max_pixels, _DECODER_BYTES.get(kind, 0))
    if ending_of(file, kind, size_bytes) is Ending.CUT:
        raise TruncatedError(f"this {kind} ends before the end that it announces", "it is tried again when it changes")
    if kind == "jpeg":
        return _check_jpeg(file, max_pixels)
    if kind == "gif":
        return _check_gif(file)
    if kind == "tiff":
        flavour = raw_flavour(file, size_bytes)
        if flavour:
            refuse_raw(flavour)
        return _Structure(frames=1)  # counting the pages of a TIFF can take seconds
    return _Structure()


def _canvas(head: bytes, kind: str) -> tuple[int, int]:
    """Width and height where they stand at a fixed place of the first bytes; (0, 0) elsewhere."""
    if kind == "png":
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if kind == "gif":
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    return _webp_canvas(head) if kind == "webp" else (0, 0)


def _check_jpeg(file: BinaryIO, max_pixels: int) -> _Structure:
    found = walk_jpeg(file, MAX_SCANS)
    _check_size(found.width, found.height, max_pixels, 0)
    if not found.scans:
        raise _no_picture(found)
    if found.scans > MAX_SCANS:
        _refuse(Reason.TOO_MANY_SCANS, "scans", found.scans, MAX_SCANS, "save it again with an ordinary encoder")
    if found.frame and not found.is_decodable:
        refuse_format(f"{found.bits}-bit JPEG" if found.bits != 8 else "lossless or hierarchical JPEG")
    return _Structure(frames=1, coefficient_bytes=2 * found.components if found.is_progressive else 0)


def _no_picture(found: JpegStructure) -> Exception:
    """The failure of a JPEG without any scan: cut off in its header, unless its end mark is there."""
    if found.ended:
        return InputError(
            Reason.CORRUPT, "this jpeg holds no picture: it ends before the first scan", "upload a good copy"
        )
    return TruncatedError("this jpeg ends inside its header", "it is tried again when it changes")


def _check_gif(file: BinaryIO) -> _Structure:
    found = walk_gif(file, MAX_FRAMES)
    if found.cut:
        raise TruncatedError("this gif ends inside a block", "it is tried again when it changes")
    return _Structure(frames=found.frames)


def _webp_canvas(head: bytes) -> tuple[int, int]:
    """The canvas by the WebP container specification; (0, 0) when the first chunk is none of the known ones."""
    kind, content = head[12:16], head[20:30]
    if kind == b"VP8X":
        return int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(content[6:8], "little") & 0x3FFF, int.from_bytes(content[8:10], "little") & 0x3FFF


def _bytes_per_pixel(image: Image.Image, kind: str) -> int:
    """What decoding and normalising take at the peak, in bytes for each pixel: an estimate, rather too high."""
    stored = _STORED_BYTES.get(image.mode, 4)
    if kind == "webp":
        return stored + _DECODER_BYTES[kind]
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    # Alpha is multiplied into a copy before resizing, and a turned TIFF is a copy too; other modes may need converting.
    copies = 8 if has_alpha else 4 if image.mode == "P" else stored if _is_turned_tiff(image, kind) else 0
    return stored + copies + _DECODER_BYTES.get(kind, 0)


def _is_turned_tiff(image: Image.Image, kind: str) -> bool:
    return kind == "tiff" and getattr(image, "tag_v2", {}).get(_ORIENTATION_TAG, 1) != 1


def _check_frames(frames: int) -> None:
    if frames > MAX_FRAMES:
        _refuse(Reason.TOO_MANY_FRAMES, "frames", frames, MAX_FRAMES, "export the frame that you want as a picture")


def _check_size(width: int, height: int, max_pixels: int, bytes_per_pixel: int) -> None:
    pixels = width * height
    if pixels > max_pixels:
        hint = "raise limits.max_pixels, or make it smaller"
        _refuse(Reason.TOO_MANY_PIXELS, f"pixels ({width}x{height})", pixels, max_pixels, hint)
    if pixels * bytes_per_pixel > MAX_DECODE_BYTES:
        hint = "save it smaller, or as baseline JPEG"
        _refuse(Reason.TOO_MUCH_MEMORY, "bytes of memory to decode", pixels * bytes_per_pixel, MAX_DECODE_BYTES, hint)


def _refuse(reason: Reason, what: str, figure: int, limit: int, hint: str) -> NoReturn:
    raise InputError(reason, f"too much: {figure} {what}, at most {limit} are allowed", hint)
