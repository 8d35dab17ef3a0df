"""The photos that the pipeline is measured with: JPEGs of equal content but for a comment, so that no two hash alike."""

import os
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from config.settings import ThumbnailSettings
from tasks.recipe import Recipe, recipe_from

CORPUS = Path(__file__).resolve().parents[2] / "shared/corpus"
PHOTOS = ("jpeg-test-images/012mp-bus.jpg", "image-rs/examples/scaledown/test.jpg")
SIDES = {"12 MP": (4000, 3000), "0.3 MP": (640, 480)}
QUALITY = 88


def recipe() -> Recipe:
    """The thumbnails that everybody makes: 1280, 640 and 200 pixels, JPEG of quality 82."""
    return recipe_from(ThumbnailSettings())


def make(folder: Path, size: str, count: int) -> list[Path]:
    """`count` files of that size (a key of SIDES) in `folder`, synced, and in the page cache as an upload leaves them."""
    contents = [_jpeg(source, SIDES[size]) for source in _sources()]
    folder.mkdir(parents=True)
    files = [folder / f"photo{number:05}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(_commented(contents[number % len(contents)], f"number {number} of {size}"))
    os.sync()
    return files


def _sources() -> list[Image.Image]:
    found = [CORPUS / name for name in PHOTOS if (CORPUS / name).exists()]
    return [Image.open(path).convert("RGB") for path in found] or [_made_up()]


def _made_up() -> Image.Image:
    """Something that an encoder takes for a photo, for machines without the corpus: soft shapes and a little noise."""
    soft = Image.effect_noise((100, 75), 90).resize((2000, 1500), Image.Resampling.BICUBIC)
    fine = Image.effect_noise((2000, 1500), 20)
    return Image.merge("RGB", [Image.blend(soft.rotate(turn), fine, 0.2) for turn in (0, 180, 0)])


def _jpeg(picture: Image.Image, sides: tuple[int, int]) -> bytes:
    content = BytesIO()
    ImageOps.fit(picture, sides, Image.Resampling.LANCZOS).save(content, "jpeg", quality=QUALITY)
    return content.getvalue()


def _commented(jpeg: bytes, text: str) -> bytes:
    """The same picture with a COM segment after its first marker (ITU T.81, B.2.4.5)."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
