"""Only allowed decoders can be reached, whatever a file is called or says, and none is asked twice."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

import images
from rendering import rendered
from tasks.codecs import open_image
from tasks.errors import IngestError, InputError, Reason

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
# With a preview in front, as old Windows programs write it; the bytes say EPS from 32 on.
EPS_WITH_PREVIEW = b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(20) + EPS
SHOWN_TO = {
    "Pillow": "from PIL import Image\nImage.open(sys.argv[1]).load()",
    "us": "from rendering import rendered\nrendered(open(sys.argv[1], 'rb').read())",
}


def show(content: bytes, to: str, folder: Path) -> str:
    """What a Ghostscript that stands first on PATH was told when the file was shown to somebody; "" for nothing."""
    gs, told, photo = folder / "gs", folder / "told", folder / "photo.jpg"
    gs.write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
    gs.chmod(0o755)
    photo.write_bytes(content)
    subprocess.run(
        [sys.executable, "-c", f"import sys\n{SHOWN_TO[to]}", photo],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
    )
    return told.read_text() if told.exists() else ""


@pytest.mark.parametrize("content", [EPS, EPS_WITH_PREVIEW], ids=["eps", "eps with preview"])
def test_an_eps_named_jpg_starts_ghostscript_in_pillow_but_not_here(content: bytes, tmp_path: Path) -> None:
    assert "-sDEVICE" in show(content, "Pillow", tmp_path), "else this test shows nothing"
    (tmp_path / "told").unlink()
    assert show(content, "us", tmp_path) == ""


@pytest.mark.parametrize("kind", images.FORMATS)
def test_a_decoder_gets_only_its_own_format_even_if_the_content_were_misjudged(kind: str) -> None:
    others = [images.image_bytes(other) for other in images.FORMATS if other != kind]
    for content in (EPS, EPS_WITH_PREVIEW, *others):
        with pytest.raises((UnidentifiedImageError, OSError, ValueError, SyntaxError)):
            open_image(io.BytesIO(content), kind, 10**6)


# -- a second load


def damaged_png(**options: Any) -> bytes:
    """A PNG whose pixels are no zlib data from the middle on, whole otherwise: its checksums are right."""
    content = images.image_bytes("png", **options)
    at = content.index(b"IDAT")
    length = int.from_bytes(content[at - 4 : at], "big")
    pixels = bytearray(content[at + 4 : at + 4 + length])
    pixels[length // 2 : length // 2 + 400] = b"\xff" * 400
    return content[: at - 4] + images.png_chunk(b"IDAT", bytes(pixels)) + content[at + 8 + length :]


def test_pillow_would_load_a_damaged_png_the_second_time() -> None:
    """What the next test guards against; when this one fails, Pillow has changed."""
    image = Image.open(io.BytesIO(damaged_png()))
    with pytest.raises((OSError, SyntaxError)):
        image.load()
    image.load()


def test_a_damaged_png_is_refused_every_time_with_or_without_metadata_that_is_read_before() -> None:
    for options in ({}, {"exif": images.exif(orientation=6, make="Canon")}, {"icc_profile": images.icc_profile()}):
        for _ in range(2):
            with pytest.raises(InputError) as raised:
                rendered(damaged_png(**options))
            assert raised.value.reason == Reason.CORRUPT


@pytest.mark.parametrize("kind", images.FORMATS)
def test_an_image_whose_loading_failed_is_never_loaded_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    load = ImageFile.ImageFile.load

    def failing_at_first(image: ImageFile.ImageFile) -> object:
        loads.append(id(image))
        if len(loads) == 1:
            raise OSError("broken data stream")
        return load(image)

    options: dict[str, Any] = {"exif": images.exif(orientation=6)} if kind != "bmp" else {}
    content = images.image_bytes(kind, **options)
    monkeypatch.setattr(ImageFile.ImageFile, "load", failing_at_first)
    monkeypatch.setattr("tasks.pixels.decode_strictly", lambda *_args, **_options: None)  # a JPEG, too, by Pillow
    with pytest.raises(IngestError):
        rendered(content)
    assert len(loads) == 1


# -- whatever a decoder raises

SEEN = [
    UnidentifiedImageError("cannot identify"),
    OSError("broken data stream"),
    ValueError("bad value"),
    Image.DecompressionBombError("(9 pixels) exceeds"),
    IndexError("out of range"),
    KeyError("no such tag"),
    SyntaxError("not a TIFF file"),
    RuntimeError("decoder error -2"),
    NotImplementedError("bits"),
    EOFError("no more images"),
    MemoryError(),
    TypeError("not a number"),
    AttributeError("no fp"),
    ZeroDivisionError("by zero"),
    OverflowError("too large"),
    RecursionError("too deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    AssertionError(),
    BufferError("exported"),
]


@pytest.mark.parametrize("error", SEEN, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_ends_in_a_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_image: ImageFile.ImageFile) -> None:
        raise error

    content = images.image_bytes("png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fails)
    with pytest.raises(InputError) as raised:
        rendered(content)
    assert raised.value.reason in (Reason.CORRUPT, Reason.TOO_MUCH_MEMORY, Reason.TOO_MANY_PIXELS)
