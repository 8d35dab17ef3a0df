"""The only door to Pillow's decoders: its global settings, one named decoder a file, and one name for every failure.

Everything global about Pillow is set here and nowhere else. A decoder that is not in _PLUGINS cannot be reached: it is
never registered by us, and `Image.open` is always told which single one to try (an EPS named `.jpg` would otherwise
start Ghostscript).
"""

import errno
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import BinaryIO

# Imported for their registration: Image.open would otherwise import every plugin there is.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from tasks.containers import looks_truncated
from tasks.errors import InputError, Reason, TruncatedError, from_os_error
from tasks.png_still import StillPng
from tasks.tiff_pages import put_right, require_decodable, turn_to_the_picture

_PLUGINS = {
    "jpeg": JpegImagePlugin.JpegImageFile.format,
    "png": StillPng.format,
    "apng": PngImagePlugin.PngImageFile.format,  # for the later frames of an animation (tasks/frames.py)
    "webp": WebPImagePlugin.WebPImageFile.format,
    "gif": GifImagePlugin.GifImageFile.format,
    "tiff": TiffImagePlugin.TiffImageFile.format,
    "bmp": BmpImagePlugin.BmpImageFile.format,
    "avif": AvifImagePlugin.AvifImageFile.format,
    "heic": "HEIF",
}

# What limits.max_text can be raised to; the header has been checked against it (tasks/png_chunks.py). Colour profiles
# count as texts here, and some good ones are larger than Pillow's 1 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = 64_000_000
PngImagePlugin.MAX_TEXT_MEMORY = 64_000_000
# One thread a worker child: the pool already uses every core, and the encoder's bytes depend on the number.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
ImageFile.LOAD_TRUNCATED_IMAGES = False  # True would give half-grey pictures
Image.WARN_POSSIBLE_FORMATS = True  # else the cause is lost when a decoder refuses the header

# What decoders were seen to raise (4086 odd and hostile files), and their neighbours. Named one by one, because a broad
# `except Exception` would also swallow what is raised *into* a decoder: Celery's SoftTimeLimitExceeded.
DECODER_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    BufferError,
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
)
# How Pillow and libheif say that they understand the header but not what it asks for.
_UNSUPPORTED = re.compile("unsupported|unknown pixel mode|not supported", re.IGNORECASE)
# How decoders without a MemoryError say that they got none: libheif, libavif, and ENOMEM, which is no weather either,
# because it is this file for which the kernel refuses (tasks/child_limits.py). libheif also says "Memory allocation error"
# when a figure in the file is over a limit of its own: that is damage, and no setting of ours would help.
_OUT_OF_MEMORY = re.compile(r"allocating \d+ bytes failed|out of memory|cannot allocate memory", re.IGNORECASE)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# An OSError from Pillow has no errno, except where a lie in the file makes an impossible seek or read; these are neither.
_IMPOSSIBLE_READS = {errno.EINVAL, errno.EOVERFLOW, errno.EFBIG, errno.ENXIO, errno.ESPIPE}


@cache
def _register_heif() -> None:
    # Late, because it costs 60 ms and most files are not HEIC. Without thumbnails=False a draft may come from an
    # embedded thumbnail that is older than the picture.
    import pillow_heif  # noqa: PLC0415

    pillow_heif.register_heif_opener(thumbnails=False)


def open_image(file: BinaryIO, kind: str, max_pixels: int) -> Image.Image:
    """Open `file` with the one decoder for `kind` (of `tasks.sniff.FORMATS`); no pixel is decoded yet.

    `max_pixels` becomes Pillow's own limit for whatever a decoder allocates later, a frame larger than its canvas for
    example; it is a global of Pillow, which is why it is set again for each file.
    """
    if kind == "heic":
        _register_heif()
    Image.MAX_IMAGE_PIXELS = max_pixels
    file.seek(0)
    with warnings.catch_warnings(record=True) as causes:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=[_PLUGINS[kind]])
        except UnidentifiedImageError as error:
            raise UnidentifiedImageError(
                "; ".join(str(cause.message) for cause in causes) or "not recognised"
            ) from error
        if kind == "tiff":
            turn_to_the_picture(image)
            require_decodable(image, file.seek(0, os.SEEK_END))
            put_right(image)
    return image


@contextmanager
def decoder_failures_named(file: BinaryIO, kind: str, size_bytes: int) -> Iterator[None]:
    """Turn whatever a decoder raises into InputError, TruncatedError, or (reading failed) what `from_os_error` says.

    Decoders' warnings are silenced, libtiff's on the standard error stream too: they are about the file, they may be a
    hundred lines of what a stranger wrote, and nobody can act on them. A bomb warning is an error.
    """
    with warnings.catch_warnings(), _stderr_muted() if kind == "tiff" else nullcontext():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except MemoryError as error:
            raise _too_much_memory(kind, "MemoryError") from error
        except _BOMBS as error:
            raise _name_bomb(error) from error
        except DECODER_ERRORS as error:
            if _OUT_OF_MEMORY.search(_cause(error)):
                raise _too_much_memory(kind, _cause(error)) from error
            raise _name_failure(error, file, kind, size_bytes) from error


@contextmanager
def _stderr_muted() -> Iterator[None]:
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _too_much_memory(kind: str, cause: str) -> InputError:
    text = f"decoding this {kind} takes more memory than limits.max_memory allows, and more than its header admits ({cause})"
    return InputError(Reason.TOO_MUCH_MEMORY, text, "save it anew with an ordinary program, or raise limits.max_memory")


def _name_bomb(error: Exception) -> InputError:
    figure = re.search(r"\((\d+) pixels\)", str(error))
    text = f"too much: {figure[1] if figure else 'too many'} pixels, at most {Image.MAX_IMAGE_PIXELS} are allowed"
    return InputError(Reason.TOO_MANY_PIXELS, text, "raise limits.max_pixels, or make it smaller")


def _name_failure(error: Exception, file: BinaryIO, kind: str, size_bytes: int) -> Exception:
    cause = _cause(error)
    try:
        _read_through(file)  # libtiff and others turn a failed read into a decoding error; a second read shows it
        if "truncated" in cause.lower() or looks_truncated(file, kind, size_bytes):
            return TruncatedError(f"this {kind} looks cut off ({cause})", "it is tried again when it changes")
    except OSError as unreadable:
        return from_os_error(unreadable, "read", "the image")
    except InputError as refused:
        return refused
    if isinstance(error, OSError) and error.errno is not None and error.errno not in _IMPOSSIBLE_READS:
        return from_os_error(error, "read", "the image")
    if _UNSUPPORTED.search(cause):
        return InputError(
            Reason.UNSUPPORTED_FORMAT,
            f"this kind of {kind} is not supported ({cause})",
            "save it as an ordinary JPEG or PNG",
        )
    return InputError(Reason.CORRUPT, f"this {kind} is damaged ({cause})", "upload a good copy")


def _read_through(file: BinaryIO) -> None:
    file.seek(0)
    while file.read(1 << 20):
        pass


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]  # a message may quote a megabyte of the file
