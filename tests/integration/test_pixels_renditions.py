import errno
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import simplejpeg
from PIL import Image, ImageChops, ImageStat, PngImagePlugin

import images
from config.settings import LimitSettings
from rendering import opened, picture_of, rendered, size
from tasks.errors import IngestError, InputError, Reason, TransientError, TruncatedError
from tasks.header import read_header
from tasks.pixels import render
from tasks.recipe import Recipe


@pytest.mark.parametrize("kind", images.FORMATS)
@pytest.mark.parametrize("output", ["jpeg", "webp", "avif", "png"])
def test_every_format_becomes_every_format(kind: str, output: Any) -> None:
    found = rendered(images.image_bytes(kind), size(80, 80, kind=output))
    picture = opened(found.renditions[0])
    assert found.facts.format == kind
    assert picture.format == output.upper()
    assert picture.size == (80, 53)
    assert images.corners_of(picture) == images.UPRIGHT


def test_renditions_come_in_the_order_of_the_recipe() -> None:
    sizes = (size(20, 20), size(90, 90), size(30, 30, "cover"), size(60, 10, "cover"))
    found = rendered(images.image_bytes(), *sizes)
    assert tuple(made.size for made in found.renditions) == sizes
    assert [(made.width, made.height) for made in found.renditions] == [(20, 13), (90, 60), (30, 30), (60, 10)]
    assert all(opened(made).size == (made.width, made.height) for made in found.renditions)


def test_the_same_size_may_be_wanted_in_two_formats() -> None:
    found = rendered(images.image_bytes(), size(20, 20, kind="jpeg"), size(20, 20, kind="webp"))
    assert [opened(made).format for made in found.renditions] == ["JPEG", "WEBP"]


def test_a_crop_is_never_the_source_of_another_size() -> None:
    found = rendered(images.image_bytes("png", 600, 100), size(90, 90, "cover"), size(80, 80))
    assert [(made.width, made.height) for made in found.renditions] == [(90, 90), (80, 13)]
    assert images.corners_of(opened(found.renditions[1])) == images.UPRIGHT


def test_a_small_picture_is_never_enlarged() -> None:
    found = rendered(images.image_bytes("png", 30, 20), size(100, 100), size(100, 100, "cover"), size(25, 10, "cover"))
    assert [(made.width, made.height) for made in found.renditions] == [(30, 20), (20, 20), (25, 10)]


def test_boxes_that_a_small_picture_does_not_fill_get_one_thumbnail_but_for_their_own_settings() -> None:
    wanted = [size(side, side, kind="jpeg") for side in (1280, 640)]
    content = images.image_bytes("png", 300, 200)
    made = rendered(content, *wanted, replace(wanted[1], quality=30), replace(wanted[1], fit="cover", height=100))
    large, small, worse, cut = made.renditions
    assert large.content is small.content
    assert (large.size.label, small.size.label) == ("1280x1280", "640x640")
    assert len(worse.content) < len(small.content)
    assert [opened(rendition).size for rendition in (large, small, worse)] == [(300, 200)] * 3
    assert opened(cut).size == (cut.width, cut.height) == (300, 47)


def test_cover_shows_the_middle() -> None:
    picture = Image.new("RGB", (300, 100), images.RED)
    picture.paste(images.GREEN, (100, 0, 200, 100))
    made = picture_of(images.encoded(picture, "png"), size(50, 50, "cover"))
    assert set(images.corners_of(made).values()) == {"upper right"}  # green everywhere


@pytest.mark.parametrize("shape", [(1, 65_000), (65_000, 1), (1, 3000), (1, 1)])
def test_the_thinnest_pictures_keep_a_pixel(shape: tuple[int, int]) -> None:
    for kind in ("jpeg", "png"):
        for fit in ("contain", "cover"):
            found = rendered(images.image_bytes(kind, *shape), size(100, 100, fit))
            assert min(found.renditions[0].width, found.renditions[0].height) == 1


def test_the_cascade_is_as_good_as_shrinking_each_size_from_the_whole_picture() -> None:
    picture = images.photo(1600, 1200)
    found = rendered(images.encoded(picture, "png"), size(800, 800), size(400, 400), size(100, 100))
    for made in found.renditions:
        best = picture.resize((made.width, made.height), Image.Resampling.LANCZOS)
        assert sum(ImageStat.Stat(ImageChops.difference(best, opened(made))).rms) / 3 < 1.0  # 48 dB


def test_only_the_first_frame_or_page_is_shown() -> None:
    other = Image.new("RGB", (240, 160), (0, 0, 0))
    for kind in ("gif", "webp", "png", "avif", "tiff"):
        made = picture_of(images.animation(kind, images.photo(), other))
        assert images.corners_of(made) == images.UPRIGHT, kind


@pytest.mark.parametrize("output", ["jpeg", "webp", "avif", "png"])
def test_nothing_of_the_sources_metadata_leaks(output: Any) -> None:
    secret = b"SECRET-48.8583N"
    tags = images.exif(orientation=1, make=secret.decode())
    extras: dict[str, Any] = {
        "exif": tags,
        "xmp": b"<x:xmpmeta>" + secret + b"</x:xmpmeta>",
        "icc_profile": images.icc_profile(),
    }
    for kind in ("jpeg", "webp", "png", "avif", "heic"):
        more: dict[str, Any] = {"comment": secret} if kind == "jpeg" else {}
        for made in rendered(images.image_bytes(kind, **extras, **more), size(64, 64, kind=output)).renditions:
            assert secret not in made.content
            assert b"xmpmeta" not in made.content
            assert not {"exif", "xmp", "comment", "icc_profile"} & set(opened(made).info)


def test_a_gif_comment_does_not_leak() -> None:
    assert (
        b"SECRET"
        not in rendered(images.image_bytes("gif", comment=b"SECRET"), size(9, 9, kind="jpeg")).renditions[0].content
    )


def test_the_same_input_gives_the_same_bytes() -> None:
    content = images.image_bytes("jpeg", 300, 200)
    sizes = (size(99, 99, kind="jpeg"), size(98, 98, kind="webp"), size(97, 97, kind="avif"), size(96, 96, kind="png"))
    assert rendered(content, *sizes) == rendered(content, *sizes)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_quality_is_obeyed(kind: Any) -> None:
    content = images.image_bytes("png")
    made = rendered(content, size(99, 99, kind=kind, quality=20), size(99, 99, kind=kind, quality=95)).renditions
    assert len(made[0].content) < len(made[1].content)


def test_the_facts_say_when_and_with_what_it_was_taken() -> None:
    tags = images.exif(
        make="Canon", model="Canon EOS 6D", taken="2024:05:06 07:08:09", changed="2025:01:01 00:00:00", orientation=6
    )
    for kind in ("jpeg", "png", "webp", "avif", "heic"):  # Pillow's TIFF writer loses the directory with the first time
        facts = rendered(images.image_bytes(kind, exif=tags)).facts
        assert (facts.taken, facts.camera) == ("2024-05-06T07:08:09", "Canon EOS 6D"), kind
    assert (
        rendered(images.image_bytes(exif=images.exif(changed="2025:01:01 00:00:00"))).facts.taken
        == "2025-01-01T00:00:00"
    )
    assert rendered(images.image_bytes()).facts.taken is None


@pytest.mark.parametrize("kind", images.FORMATS)
@pytest.mark.parametrize("fraction", [0.3, 0.7, 0.97])
def test_a_cut_off_file_waits_for_its_client(kind: str, fraction: float) -> None:
    with pytest.raises(TruncatedError):
        rendered(images.truncated(images.image_bytes(kind, 480, 320), fraction))


# Missing: BMP and TIFF without compression, where nothing tells black pixels from unwritten ones.
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "avif", "heic"])
@pytest.mark.parametrize("fraction", [0.3, 0.7, 0.9])
def test_a_file_that_was_reserved_but_not_yet_written_to_its_end_waits_for_its_client(
    kind: str, fraction: float
) -> None:
    with pytest.raises(TruncatedError):
        rendered(images.zero_tailed(_many_pages(kind), fraction))
    if kind != "webp":  # where good files end in zeros
        with pytest.raises(TruncatedError):
            rendered(images.zero_tailed(_many_pages(kind), fraction, page=1448))


def _many_pages(kind: str) -> bytes:
    noise = Image.effect_noise((960, 640), 90)
    return images.encoded(Image.merge("RGB", [noise] * 3), kind)


@pytest.mark.parametrize(
    ("height", "options"), [(0, {}), (300, {}), (700, {"method": 0})], ids=["flat", "plain", "fast"]
)
def test_a_webp_that_looks_the_same_down_to_its_edge_is_whole_although_it_ends_in_zeros(
    height: int, options: dict[str, object]
) -> None:
    picture = Image.new("RGB", (1920, 1477), "white")
    if height:
        picture.paste(Image.effect_noise((1920, height), 90).convert("RGB"))
    content = images.encoded(picture, "webp", **options)
    assert content.endswith(bytes(64)), "else this shows nothing"
    assert rendered(content).facts.width == 1920


@pytest.mark.parametrize("kind", ["png", "webp", "avif"])
def test_a_damaged_file_is_corrupt_and_not_cut_off(kind: str) -> None:
    content = images.image_bytes(kind, 480, 320)
    start = len(content) // 3 if kind != "webp" else 20
    with pytest.raises(InputError) as raised:
        rendered(content[:start] + bytes(byte ^ 0x55 for byte in content[start:-20]) + content[-20:])
    assert raised.value.reason == Reason.CORRUPT


def test_a_jpeg_with_something_after_its_end_is_fine() -> None:
    content = images.image_bytes("jpeg")
    for tail in (b"\0" * 1000, b"garbage", content, b"\0\0\0\x18ftypmp42" + bytes(1000)):
        assert images.corners_of(picture_of(content + tail)) == images.UPRIGHT


def test_a_png_that_lacks_only_its_end_mark_is_fine() -> None:
    assert images.corners_of(picture_of(images.image_bytes("png")[:-12])) == images.UPRIGHT


def test_a_failed_load_is_never_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = PngImagePlugin.PngImageFile.load

    def counted(image: Any) -> Any:
        loads.append(image)
        return load(image)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", counted)
    content = images.image_bytes("png", 480, 320)
    damaged = content[:5000] + bytes(100) + content[5100:]
    with pytest.raises(InputError):
        rendered(damaged)
    assert len(loads) == 1


def test_running_out_of_memory_is_a_reason_and_not_the_end_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_args: object, **_kwargs: object) -> None:
        raise MemoryError

    content = images.image_bytes("png")
    for owner, name in ((Image, "new"), (PngImagePlugin.PngImageFile, "load")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, exhausted)
            with pytest.raises(InputError) as raised:
                rendered(content)
            assert raised.value.reason == Reason.TOO_MUCH_MEMORY


def test_a_large_jpeg_is_never_decoded_at_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    decode = simplejpeg.decode_jpeg

    def noted(*args: Any, **kwargs: Any) -> Any:
        pixels = decode(*args, **kwargs)
        shapes.append(pixels.shape)
        return pixels

    content = images.image_bytes("jpeg", 1600, 1200)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", noted)
    rendered(content, size(120, 120))
    rendered(content, size(400, 400))
    assert shapes == [(300, 400, 4), (600, 800, 4)]


def test_real_files_are_read_by_descriptor(tmp_path: Path) -> None:
    for kind in images.FORMATS:
        path = tmp_path / "misnamed.txt"
        path.write_bytes(images.image_bytes(kind))
        with path.open("rb", buffering=0) as file:
            header = read_header(file, path.stat().st_size, LimitSettings())
            found = render(file, header, Recipe((size(50, 50),), (0, 0, 0)))
            assert not file.closed
        assert images.corners_of(Image.open(io.BytesIO(found.renditions[0].content))) == images.UPRIGHT


def test_no_other_decoder_is_even_loaded() -> None:
    rendered(images.image_bytes("tiff"))
    assert not {f"PIL.{name}ImagePlugin" for name in ("Eps", "Psd", "Fits", "Pdf", "Wmf", "Jpeg2K", "Ico")} & set(
        sys.modules
    )


def test_what_libtiff_says_about_a_file_stays_off_the_standard_error_stream(capfd: pytest.CaptureFixture[str]) -> None:
    content = images.image_bytes("tiff", compression="tiff_lzw")
    with pytest.raises(IngestError):
        rendered(content[:500] + bytes(byte ^ 0x55 for byte in content[500:2000]) + content[2000:])
    assert capfd.readouterr().err == ""


def test_a_read_error_that_a_decoder_hides_is_still_the_weather() -> None:
    class Flaky(io.BytesIO):
        """Fails beyond its first thousand bytes: once as a decoder reports it, then as the kernel does."""

        failed = False

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() < 1000:
                return super().read(size)
            if self.failed:
                raise OSError(errno.EIO, "Input/output error")
            self.failed = True
            raise OSError("decoder error -2")

    content = images.image_bytes("tiff", 800, 600)
    file = Flaky(content)
    header = read_header(file, len(content), LimitSettings())
    with pytest.raises(TransientError):
        render(file, header, Recipe((size(50, 50),), (0, 0, 0)))
