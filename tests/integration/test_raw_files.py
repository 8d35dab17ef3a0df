"""RAW files are TIFF inside and hold previews that a TIFF decoder shows: none of them may become a thumbnail."""

import io

import pytest
from PIL import Image

from config.settings import LimitSettings
from raws import PREVIEW_SIDE, raw_file
from tasks.errors import InputError, Reason
from tasks.header import read_header

KINDS = ("nef", "arw", "dng", "pef", "3fr")


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_file_is_recognised_however_it_is_built(kind: str, order: str, big: bool) -> None:
    content = raw_file(kind, order, big=big)
    with pytest.raises(InputError) as raised:
        read_header(io.BytesIO(content), len(content), LimitSettings())
    assert raised.value.reason == Reason.UNSUPPORTED_RAW
    assert "export it as JPEG" in raised.value.hint


@pytest.mark.parametrize("kind", ["nef", "arw", "dng", "3fr"])
def test_the_trap_is_real(kind: str) -> None:
    with Image.open(io.BytesIO(raw_file(kind))) as preview:
        preview.load()
        assert preview.size == (PREVIEW_SIDE, PREVIEW_SIDE)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_cameras_tiff_with_a_small_copy_inside_is_a_picture(order: str, big: bool) -> None:
    content = raw_file("tiff", order, big=big)
    found = read_header(io.BytesIO(content), len(content), LimitSettings())
    assert (found.format, found.width) == ("tiff", PREVIEW_SIDE)


@pytest.mark.parametrize(
    "head",
    [b"\xff\x0a\xfa\x1f\x41\x90\x08\x06", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x14ftypjxl \0\0\0\0jxl "],
    ids=["codestream", "container", "container without signature box"],
)
def test_jpeg_xl_is_named(head: bytes) -> None:
    content = head + bytes(200)
    with pytest.raises(InputError, match="JPEG XL") as raised:
        read_header(io.BytesIO(content), len(content), LimitSettings())
    assert raised.value.reason == Reason.UNSUPPORTED_FORMAT
    assert "convert it" in raised.value.hint
