import errno
import io

import pytest
from PIL import Image, ImageFile

import images
from config.settings import LimitSettings
from tasks import header
from tasks.errors import IngestError, InputError, Reason, TransientError, TruncatedError
from tasks.header import read_header

LIMITS = LimitSettings()


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


def test_a_png_bomb_is_refused_at_once_even_when_it_is_cut_off() -> None:
    bomb = images.png_bomb()
    assert refusal(bomb).reason == Reason.TOO_MANY_PIXELS
    assert refusal(images.truncated(bomb)).reason == Reason.TOO_MANY_PIXELS


def test_a_few_bytes_of_webp_may_not_ask_for_gigabytes() -> None:
    found = refusal(images.webp_bomb())
    assert found.reason == Reason.TOO_MUCH_MEMORY
    assert refusal(images.webp_bomb(16_384, 16_384)).reason == Reason.TOO_MANY_PIXELS


def test_memory_is_estimated_by_format_and_not_by_pixels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_DECODE_BYTES", 100 * 100 * 5)
    picture = images.photo(100, 100)
    assert header_of(images.encoded(picture, "jpeg")).width == 100
    assert refusal(images.encoded(picture, "jpeg", progressive=True)).reason == Reason.TOO_MUCH_MEMORY
    assert refusal(images.encoded(picture, "webp")).reason == Reason.TOO_MUCH_MEMORY


def test_a_progressive_jpeg_may_not_have_endless_scans() -> None:
    assert header_of(images.jpeg_with_scans(100)).width == 64
    found = refusal(images.jpeg_with_scans(101))
    assert found.reason == Reason.TOO_MANY_SCANS
    assert "100" in found.message


def test_a_gif_may_not_have_endless_frames() -> None:
    assert header_of(images.gif_of(10_000)).frames == 10_000
    assert refusal(images.gif_of(10_001)).reason == Reason.TOO_MANY_FRAMES


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


def test_pillows_own_guards_stay_up() -> None:
    header_of(images.image_bytes("png"))
    assert LIMITS.max_pixels == Image.MAX_IMAGE_PIXELS
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
