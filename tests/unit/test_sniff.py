import pytest

from tasks.errors import InputError, Reason, TruncatedError
from tasks.sniff import HEAD_BYTES, sniff


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(100)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n\0\0", "png"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"II*\0\x08\0\0\0", "tiff"),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"II+\0\x08\0\0\0", "tiff"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp"),
        (ftyp(b"avif", b"mif1", b"miaf"), "avif"),
        (ftyp(b"mif1", b"avif"), "avif"),
        (ftyp(b"heic", b"mif1"), "heic"),
        (ftyp(b"mif1", b"heic"), "heic"),
        (ftyp(b"msf1", b"hevc"), "heic"),
    ],
)
def test_a_supported_format_is_told_by_its_first_bytes(head: bytes, name: str) -> None:
    assert sniff(head) == name


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"hello, world\n", Reason.NOT_AN_IMAGE),
        (b"BM is how this text begins, and it goes on", Reason.NOT_AN_IMAGE),
        (b"RIFF\x10\0\0\0WAVEfmt ", Reason.NOT_AN_IMAGE),
        (ftyp(b"mp42", b"isom", b"mif1"), Reason.NOT_AN_IMAGE),
        (b"PK\3\4", Reason.NOT_AN_IMAGE),
        (b"\r\n\xff\xd8\xff\xe0", Reason.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0", Reason.UNSUPPORTED_FORMAT),
        (b"%PDF-1.7", Reason.UNSUPPORTED_FORMAT),
        (b"<svg xmlns=", Reason.UNSUPPORTED_FORMAT),
        (b"<?xml version='1.0'?>\n<!DOCTYPE svg>\n<svg>", Reason.UNSUPPORTED_FORMAT),
        (b"8BPS\0\1", Reason.UNSUPPORTED_FORMAT),
        (b"\xff\x0a\xfa", Reason.UNSUPPORTED_FORMAT),
        (b"\0\0\0\x0cJXL \r\n", Reason.UNSUPPORTED_FORMAT),
        (b"\0\0\0\x0cjP  \r\n", Reason.UNSUPPORTED_FORMAT),
        (b"\xff\x4f\xff\x51", Reason.UNSUPPORTED_FORMAT),
        (b"\0\0\1\0\1\0", Reason.UNSUPPORTED_FORMAT),
        (b"MM\0+\0\x08\0\0", Reason.UNSUPPORTED_FORMAT),
        (b"P6\n10 10\n255\n", Reason.UNSUPPORTED_FORMAT),
        (b"II*\0\x10\0\0\0CR\x02\0", Reason.UNSUPPORTED_RAW),
        (ftyp(b"crx ", b"isom"), Reason.UNSUPPORTED_RAW),
        (b"FUJIFILMCCD-RAW 0201", Reason.UNSUPPORTED_RAW),
        (b"IIU\0\x18\0\0\0", Reason.UNSUPPORTED_RAW),
        (b"IIRO\x08\0\0\0", Reason.UNSUPPORTED_RAW),
    ],
)
def test_everything_else_is_refused_with_the_reason_that_helps(head: bytes, reason: Reason) -> None:
    with pytest.raises(InputError) as refusal:
        sniff(head)
    assert refusal.value.reason == reason
    assert refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize("head", [b"\xff\xd8", b"\x89PNG", b"GIF8", bytes(HEAD_BYTES), b"\0"])
def test_too_little_to_tell_may_still_be_arriving(head: bytes) -> None:
    with pytest.raises(TruncatedError):
        sniff(head)


def test_a_tga_is_not_called_a_cursor() -> None:
    for head, name in ((b"\0\0\2\0\1\0", "cursor"), (b"\0\0\2\0\0\0", "TGA")):
        with pytest.raises(InputError, match=name):
            sniff(head)
