import errno
import io
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from PIL import Image, ImageFile

import images
from config.settings import LimitSettings
from tasks import header
from tasks.errors import IngestError, InputError, Reason, TransientError, TruncatedError
from tasks.header import read_header

LIMITS = LimitSettings()


def allowing(**limits: Any) -> LimitSettings:
    return LimitSettings.model_validate(limits)


def header_of(content: bytes, limits: LimitSettings = LIMITS) -> header.Header:
    return read_header(io.BytesIO(content), len(content), limits)


def refusal(content: bytes, limits: LimitSettings = LIMITS) -> IngestError:
    with pytest.raises(IngestError) as raised:
        header_of(content, limits)
    return raised.value


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format_is_read_by_content(kind: str) -> None:
    found = header_of(images.image_bytes(kind, 120, 80))
    assert (found.format, found.width, found.height, found.frames) == (kind, 120, 80, 1)


def test_the_frames_of_an_animation_are_counted() -> None:
    pictures = [images.photo(40, 30, seed=seed) for seed in range(3)]
    assert {kind: header_of(images.animation(kind, *pictures)).frames for kind in ("gif", "webp", "png", "avif")} == {
        "gif": 3,
        "webp": 3,
        "png": 3,
        "avif": 3,
    }


def test_the_pages_of_a_tiff_are_not_counted() -> None:
    assert header_of(images.animation("tiff", images.photo(), images.photo())).frames == 1


@pytest.mark.parametrize("flavour", images.raw_flavours())
def test_camera_raw_is_recognised_for_what_it_is(flavour: str) -> None:
    found = refusal(images.raw_flavours()[flavour])
    assert found.reason == Reason.UNSUPPORTED_RAW
    assert "JPEG" in found.hint


def test_a_tiff_that_merely_comes_from_a_camera_is_no_raw_file() -> None:
    make = images.exif(make="Canon", model="Canon EOS 6D")
    assert header_of(images.image_bytes("tiff", exif=make)).format == "tiff"


def test_an_eps_never_reaches_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_args, **_kwargs: pytest.fail("a decoder was asked"))
    assert refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n").reason == Reason.UNSUPPORTED_FORMAT


def test_too_many_bytes_are_refused_without_reading_one() -> None:
    class Unread(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            pytest.fail(f"{size} bytes were read")

    with pytest.raises(InputError) as raised:
        read_header(Unread(), 2_000_000, LimitSettings.model_validate({"max_bytes": "1MB"}))
    assert raised.value.reason == Reason.TOO_MANY_BYTES
    assert "2000000" in raised.value.message
    assert "1000000" in raised.value.message


@pytest.mark.parametrize("kind", images.FORMATS)
def test_too_many_pixels_are_refused_with_both_numbers(kind: str) -> None:
    content = images.image_bytes(kind, 120, 80)
    found = refusal(content, LimitSettings(max_pixels=9599))
    assert found.reason == Reason.TOO_MANY_PIXELS
    assert "9600" in found.message
    assert "9599" in found.message
    assert header_of(content, LimitSettings(max_pixels=9600)).width == 120


def test_a_jpeg_that_is_too_large_is_refused_although_its_end_is_not_written_yet() -> None:
    whole = images.image_bytes("jpeg")
    at = whole.index(b"\xff\xc0") + 5
    bomb = whole[:at] + b"\xff\0\xff\0" + whole[at + 4 : -2] + bytes(100)
    assert refusal(bomb).reason == Reason.TOO_MANY_PIXELS
    assert isinstance(refusal(whole[:-2] + bytes(100)), TruncatedError)


def test_a_picture_that_is_a_line_is_refused_for_what_its_rows_take() -> None:
    line = images.encoded(Image.new("L", (1, 200_000)), "png")
    found = refusal(line, allowing(max_memory="10MB"))
    assert found.reason == Reason.TOO_MUCH_MEMORY
    assert header_of(line, allowing(max_memory="20MB")).height == 200_000


def test_a_png_bomb_is_refused_at_once_even_when_it_is_cut_off() -> None:
    bomb = images.png_bomb()
    assert refusal(bomb).reason == Reason.TOO_MANY_PIXELS
    assert refusal(images.truncated(bomb)).reason == Reason.TOO_MANY_PIXELS


def test_a_few_bytes_of_webp_may_not_ask_for_gigabytes() -> None:
    found = refusal(images.webp_bomb())
    assert found.reason == Reason.TOO_MUCH_MEMORY
    assert refusal(images.webp_bomb(16_384, 16_384)).reason == Reason.TOO_MANY_PIXELS


def test_memory_is_estimated_by_format_and_not_by_pixels_alone() -> None:
    limits = allowing(max_memory="10MB")
    picture = Image.new("RGB", (1500, 1400))
    assert header_of(images.encoded(picture, "jpeg"), limits).width == 1500
    for content in (
        images.encoded(picture, "jpeg", progressive=True),
        images.jpeg_in_separate_scans(images.encoded(picture, "jpeg")),
        images.encoded(picture, "webp"),
        images.encoded(picture.convert("RGBA"), "png"),
        images.encoded(picture, "avif", speed=10),
    ):
        assert refusal(content, limits).reason == Reason.TOO_MUCH_MEMORY


def test_a_progressive_jpeg_may_not_have_endless_scans() -> None:
    assert header_of(images.jpeg_with_scans(100)).width == 64
    found = refusal(images.jpeg_with_scans(101))
    assert found.reason == Reason.TOO_MANY_SCANS
    assert "100" in found.message


def test_a_gif_may_not_have_endless_frames() -> None:
    assert header_of(images.gif_of(10_000)).frames == 10_000
    assert refusal(images.gif_of(10_001)).reason == Reason.TOO_MANY_FRAMES


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    content = images.image_bytes("png")
    return content[:33] + b"".join(images.png_chunk(*chunk) for chunk in chunks) + content[33:]


BLANK = bytes(3_000_000)
TEXTS = {
    "plain": (b"tEXt", b"Comment\0" + BLANK),
    "packed": (b"zTXt", b"Comment\0\0" + zlib.compress(BLANK)),
    "international": (b"iTXt", b"Comment\0\0\0\0\0" + BLANK),
    "packed international": (b"iTXt", b"Comment\0\1\0en\0Kommentar\0" + zlib.compress(BLANK)),
    "profile": (b"iCCP", b"sRGB\0\0" + zlib.compress(BLANK)),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_png_may_not_unpack_into_endless_text(text: tuple[bytes, bytes]) -> None:
    assert header_of(png_with(text), allowing(max_text="4MB")).width == 240
    assert refusal(png_with(text), allowing(max_text="2MB")).reason == Reason.TOO_MUCH_TEXT
    assert refusal(png_with(text, text), allowing(max_text="4MB")).reason == Reason.TOO_MUCH_TEXT


def test_many_small_texts_of_a_png_count_together() -> None:
    texts = [(b"tEXt", b"Comment\0" + bytes(1000))] * 101
    assert refusal(png_with(*texts), allowing(max_text="100KB")).reason == Reason.TOO_MUCH_TEXT
    assert header_of(png_with(*texts[:99]), allowing(max_text="100KB")).width == 240


def test_a_text_that_cannot_be_unpacked_is_no_reason_to_refuse_a_picture() -> None:
    assert header_of(png_with((b"zTXt", b"Comment\0\0no zlib data"))).width == 240


LIMITED = {
    "max_bytes": (allowing(max_bytes="500B"), images.image_bytes("png"), Reason.TOO_MANY_BYTES, "500"),
    "max_pixels": (allowing(max_pixels=9599), images.image_bytes("png"), Reason.TOO_MANY_PIXELS, "38400"),
    "max_memory": (allowing(max_memory="10MB"), images.webp_bomb(1000, 1000), Reason.TOO_MUCH_MEMORY, "12128000"),
    "max_frames": (allowing(max_frames=2), images.gif_of(9), Reason.TOO_MANY_FRAMES, "3"),
    "max_scans": (allowing(max_scans=20), images.jpeg_with_scans(30), Reason.TOO_MANY_SCANS, "21"),
    "max_text": (allowing(max_text="1MB"), png_with(TEXTS["packed"]), Reason.TOO_MUCH_TEXT, "1000001"),
}


@pytest.mark.parametrize("key", LIMITED)
def test_a_limit_names_the_figure_what_is_allowed_and_its_key(key: str) -> None:
    limits, content, reason, figure = LIMITED[key]
    allowed = getattr(limits, key, None) or getattr(limits, f"{key}_bytes")
    found = refusal(content, limits)
    assert found.reason == reason
    assert f" {figure} " in found.message
    assert f" {allowed} " in found.message
    assert f"raise limits.{key}" in found.hint


@pytest.mark.parametrize("kind", images.FORMATS)
def test_a_format_that_is_not_wanted_never_reaches_a_decoder(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, others = images.image_bytes(kind), [other for other in images.FORMATS if other != kind]
    assert header_of(content, allowing(formats=[kind])).format == kind
    monkeypatch.setattr(Image, "open", lambda *_args, **_kwargs: pytest.fail("a decoder was asked"))
    found = refusal(content, allowing(formats=others))
    assert found.reason == Reason.UNSUPPORTED_FORMAT
    assert kind in found.message
    assert "limits.formats" in found.message


def test_a_jpeg_of_endless_segments_or_padding_is_refused_quickly() -> None:
    content = images.image_bytes("jpeg")
    assert refusal(content[:2] + b"\xff\xe0\0\2" * 100_000 + content[2:]).reason == Reason.CORRUPT
    assert refusal(content[:2] + b"\xff" * 10_000_000 + content[2:]).reason == Reason.CORRUPT


def test_a_png_of_endless_chunks_is_refused_quickly() -> None:
    content = images.image_bytes("png")
    assert refusal(content[:33] + images.png_chunk(b"prVt", b"") * 300_000 + content[33:]).reason == Reason.CORRUPT


def test_a_jpeg_of_12_bits_is_unsupported_and_not_damaged() -> None:
    content = images.image_bytes("jpeg")
    at = content.index(b"\xff\xc0")
    assert refusal(content[: at + 4] + b"\x0c" + content[at + 5 :]).reason == Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("kind", ["png", "webp", "gif", "avif", "heic"])
@pytest.mark.parametrize("fraction", [0.5, 0.99])
def test_a_container_that_announces_more_than_there_is_looks_cut_off(kind: str, fraction: float) -> None:
    content = images.image_bytes(kind)
    assert isinstance(refusal(images.truncated(content, fraction)), TruncatedError)


def test_a_tiff_whose_strips_lie_far_beyond_its_end_looks_cut_off_and_costs_no_memory() -> None:
    """Found by fuzzing: of 3 kB Pillow read 279 MB, the distance to the next strip."""
    tags = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 122, 277: 1, 278: 32, 279: 130}
    count = {tag: 2 if tag in (273, 279) else 1 for tag in tags}
    entries = b"".join(struct.pack("<HHII", tag, 4, count[tag], value) for tag, value in tags.items())
    directory = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    content = directory.ljust(122) + struct.pack("<4I", 138, 285_238_527, 2048, 2048) + bytes(2048)
    tracemalloc.start()
    try:
        found = refusal(content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, TruncatedError)
    assert "a strip begins at byte 285238527" in found.message
    assert peak_bytes < 10_000_000


def test_a_tiff_with_a_compression_that_is_not_decoded_is_not_called_damaged() -> None:
    content = bytearray(images.encoded(Image.new("RGB", (64, 64), 90), "tiff"))
    entry = content.index(struct.pack("<HHI", 259, 3, 1))  # Compression: one short
    struct.pack_into("<H", content, entry + 8, 50001)
    found = refusal(bytes(content))
    assert found.reason == Reason.UNSUPPORTED_FORMAT
    assert "compression webp is not supported" in found.message


def test_an_animation_cut_off_in_a_later_frame_looks_cut_off() -> None:
    pictures = [images.photo(40, 30, seed=seed) for seed in range(3)]
    for kind in ("gif", "webp", "png", "avif"):
        assert isinstance(refusal(images.truncated(images.animation(kind, *pictures), 0.95)), TruncatedError), kind


@pytest.mark.parametrize("kind", images.FORMATS)
@pytest.mark.parametrize("length", [1, 2, 5, 12, 40])
def test_a_file_cut_off_in_its_first_bytes_is_never_taken_for_an_image(kind: str, length: int) -> None:
    found = refusal(images.image_bytes(kind)[:length])
    assert isinstance(found, TruncatedError) or found.reason in (Reason.NOT_AN_IMAGE, Reason.CORRUPT)


def test_a_read_error_is_the_weather_and_not_the_files_fault() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    content = images.image_bytes("png")
    with pytest.raises(TransientError):
        read_header(Broken(content), len(content), LIMITS)


def test_a_decoder_never_gets_the_last_word_on_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    class TimeLimitError(Exception):
        """Stands for what Celery raises into a running task."""

    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise TimeLimitError

    monkeypatch.setattr(Image, "open", interrupted)
    with pytest.raises(TimeLimitError):
        header_of(images.image_bytes("png"))


def test_a_header_that_takes_too_much_memory_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_args: object, **_kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    assert refusal(images.image_bytes("png")).reason == Reason.TOO_MUCH_MEMORY


def test_pillows_own_guards_stay_up() -> None:
    header_of(images.image_bytes("png"))
    assert LIMITS.max_pixels == Image.MAX_IMAGE_PIXELS
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
