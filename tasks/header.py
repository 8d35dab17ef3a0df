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
from tasks.png_chunks import walk_png
from tasks.sniff import HEAD_BYTES, refuse_format, refuse_raw, sniff
from tasks.tiff_tags import raw_flavour

# Measured, beyond the picture itself, in bytes a pixel: WebP keeps two canvases and its own planes, AVIF up to 16 bits.
_DECODER_BYTES = {"webp": 12, "avif": 10, "heic": 3}
# What Pillow and a resize keep of each row and column, whatever its length: 60 bytes. It counts where a picture is a line.
_LINE_BYTES = 64
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
    too_much_*, corrupt), TruncatedError when the file looks cut off, or what `from_os_error` makes of a failed read.
    """
    if size_bytes > limits.max_bytes:
        _refuse(
            Reason.TOO_MANY_BYTES, "bytes", size_bytes, limits.max_bytes, "raise limits.max_bytes, or make it smaller"
        )
    with decoder_failures_named(file, "file", size_bytes):
        file.seek(0)
        head = file.read(HEAD_BYTES)
        kind = sniff(head)
    _check_format(kind, limits.formats)
    with decoder_failures_named(file, kind, size_bytes):
        structure = _check_structure(file, head, kind, size_bytes, limits)
        image = open_image(file, kind, limits.max_pixels)
        frames = structure.frames or int(getattr(image, "n_frames", 1))
        _check_frames(frames, limits.max_frames)
        _check_size(*image.size, limits, _bytes_per_pixel(image, kind) + structure.coefficient_bytes)
    return Header(kind, *image.size, image.mode, frames, size_bytes, limits.max_pixels)


@dataclass(frozen=True, slots=True)
class _Structure:
    """What the container says before a decoder sees it; `frames` 0 means: ask the decoder, for it is cheap there."""

    frames: int = 0
    coefficient_bytes: int = 0  # a pixel, held until the last scan of a JPEG that has several


def _check_format(kind: str, allowed: tuple[str, ...]) -> None:
    if kind not in allowed:
        text = f"{kind} is not among limits.formats ({', '.join(allowed)})"
        raise InputError(Reason.UNSUPPORTED_FORMAT, text, "add it there, or convert the file to one of them")


def _check_structure(file: BinaryIO, head: bytes, kind: str, size_bytes: int, limits: LimitSettings) -> _Structure:
    # Before the decoder is made (WebP's takes its memory then), and before a bomb that is cut off could be waited for.
    _check_size(*_canvas(head, kind), limits, _DECODER_BYTES.get(kind, 0))
    jpeg = _check_jpeg(file, limits) if kind == "jpeg" else None
    if ending_of(file, kind, size_bytes) is Ending.CUT:
        raise TruncatedError(f"this {kind} ends before the end that it announces", "it is tried again when it changes")
    if jpeg:
        return jpeg
    if kind == "gif":
        return _check_gif(file, limits.max_frames)
    if kind == "png":
        _check_text(file, size_bytes, limits.max_text_bytes)
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


def _check_jpeg(file: BinaryIO, limits: LimitSettings) -> _Structure:
    found = walk_jpeg(file, limits.max_scans)
    _check_size(found.width, found.height, limits, 0)
    if not found.scans:
        raise _no_picture(found)
    if found.scans > limits.max_scans:
        hint = "save it again with an ordinary encoder, or raise limits.max_scans"
        _refuse(Reason.TOO_MANY_SCANS, "scans or more", found.scans, limits.max_scans, hint)
    if found.frame and not found.is_decodable:
        refuse_format(f"{found.bits}-bit JPEG" if found.bits != 8 else "lossless or hierarchical JPEG")
    return _Structure(frames=1, coefficient_bytes=2 * found.components if found.has_several_scans else 0)


def _no_picture(found: JpegStructure) -> Exception:
    """The failure of a JPEG without any scan: cut off in its header, unless its end mark is there."""
    if found.ended:
        return InputError(
            Reason.CORRUPT, "this jpeg holds no picture: it ends before the first scan", "upload a good copy"
        )
    return TruncatedError("this jpeg ends inside its header", "it is tried again when it changes")


def _check_text(file: BinaryIO, size_bytes: int, max_text_bytes: int) -> None:
    found = walk_png(file, size_bytes, max_text_bytes).text_bytes
    if found > max_text_bytes:
        hint = "save it without its texts, or raise limits.max_text"
        _refuse(Reason.TOO_MUCH_TEXT, "bytes or more of text and profile, unpacked", found, max_text_bytes, hint)


def _check_gif(file: BinaryIO, max_frames: int) -> _Structure:
    found = walk_gif(file, max_frames)
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


def _check_frames(frames: int, max_frames: int) -> None:
    if frames > max_frames:
        hint = "export the frame that you want as a picture, or raise limits.max_frames"
        _refuse(Reason.TOO_MANY_FRAMES, "frames or more", frames, max_frames, hint)


def _check_size(width: int, height: int, limits: LimitSettings, bytes_per_pixel: int) -> None:
    pixels = width * height
    if pixels > limits.max_pixels:
        hint = "raise limits.max_pixels, or make it smaller"
        _refuse(Reason.TOO_MANY_PIXELS, f"pixels ({width}x{height})", pixels, limits.max_pixels, hint)
    found = pixels * bytes_per_pixel + (width + height) * _LINE_BYTES
    if found > limits.max_memory_bytes:
        hint = "save it smaller, or as baseline JPEG, or raise limits.max_memory"
        _refuse(Reason.TOO_MUCH_MEMORY, "bytes of memory to decode", found, limits.max_memory_bytes, hint)


def _refuse(reason: Reason, what: str, figure: int, limit: int, hint: str) -> NoReturn:
    raise InputError(reason, f"too much: {figure} {what}, at most {limit} are allowed", hint)
