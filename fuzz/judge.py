"""What must hold of the engine, whatever a file is: either a named outcome, or thumbnails that are what they should be.

Raises AssertionError with what does not; everything here is checked anew from the outputs, by other means than the engine's.
"""

import io
from math import floor

from PIL import Image

from fuzz.parts import split
from fuzz.seeds import CANARY
from tasks import manifest
from tasks.facts import ImageFacts
from tasks.manifest import Manifest
from tasks.messages import Arrival
from tasks.pixels import Rendered, Rendition
from tasks.recipe import WantedSize

_MAGIC = {"jpeg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF", "avif": b"\0\0\0"}
# JFIF's APP0, DQT, SOF0, DHT and what follows them; pixels, alpha, and the chunk that announces alpha.
_PARTS_ALLOWED = {
    "jpeg": {b"\xe0", b"\xdb", b"\xc0", b"\xc4", b""},
    "png": {b"IHDR", b"IDAT", b"IEND"},
    "webp": {b"VP8 ", b"VP8L", b"VP8X", b"ALPH"},
}
_INFO_FORBIDDEN = {"exif", "xmp", "icc_profile", "comment", "XML:com.adobe.xmp", "Comment", "photoshop"}


def judge_done(rendered: Rendered, sizes: tuple[WantedSize, ...], max_pixels: int) -> None:
    """Check facts and thumbnails of an image that counts as done."""
    facts = rendered.facts
    assert min(facts.width, facts.height) >= 1, f"measures {facts.width}x{facts.height}"
    assert facts.width * facts.height <= max_pixels, f"{facts.width}x{facts.height} pixels are over the limit"
    assert facts.orientation in range(1, 9), f"orientation {facts.orientation}"
    assert tuple(one.size for one in rendered.renditions) == sizes, "not the sizes of the recipe"
    for rendition in rendered.renditions:
        _judge_rendition(rendition, facts)


def judge_record(facts: ImageFacts, category: str, arrival: Arrival) -> None:
    """Check what is told of the image: a category that stays below the library's root, a manifest that can be read again."""
    names = category.split("/")
    assert all(name and not name.startswith(".") and name.isprintable() for name in names), f"category {category!r}"
    assert len(category.encode()) < 1000, f"category of {len(category.encode())} bytes"
    record = Manifest("0" * 64, arrival, facts, "recipe", "2026-01-01T00:00:00Z", 1, category)
    content = manifest.to_bytes(record)
    assert content.isascii(), "a manifest that is not ASCII"
    assert manifest.from_bytes(content) == record, "a manifest that reads otherwise"


def _judge_rendition(rendition: Rendition, facts: ImageFacts) -> None:
    wanted, content = rendition.size, rendition.content
    assert content.startswith(_MAGIC[wanted.format]), f"a {wanted.format} that begins with {content[:8]!r}"
    with Image.open(io.BytesIO(content), formats=[wanted.format]) as picture:
        picture.load()
        assert picture.size == (rendition.width, rendition.height), f"{picture.size} instead of what it says"
        assert picture.mode in ("L", "RGB", "RGBA"), f"mode {picture.mode}"
        assert not _INFO_FORBIDDEN & set(picture.info), f"metadata: {sorted(map(str, picture.info))}"
    foreign = {part.name for part in split(content)} - _PARTS_ALLOWED.get(wanted.format, set())
    assert wanted.format == "avif" or not foreign, f"foreign parts: {foreign}"
    assert CANARY.encode() not in content, "metadata of the source"
    _judge_size((rendition.width, rendition.height), (facts.width, facts.height), wanted)


def _judge_size(size: tuple[int, int], full: tuple[int, int], wanted: WantedSize) -> None:
    box = wanted.width, wanted.height
    assert all(side <= limit for side, limit in zip(size, box, strict=True)), f"{size} is larger than {box}"
    assert all(side <= limit for side, limit in zip(size, full, strict=True)), (
        f"{size} is larger than the source, {full}"
    )
    if wanted.fit == "contain":
        scale = min(1.0, box[0] / full[0], box[1] / full[1])
        expected = tuple(max(1, floor(side * scale + 0.5)) for side in full)
        assert size == expected, f"{size} instead of {expected} for {full} in {box}"
