"""The photos that the engine is measured with: the corpus's camera JPEGs of 12 MP, or one made in code where it is not."""

from pathlib import Path

from PIL import Image

from results import RESULTS

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
NAMES = ("jpeg-test-images/012mp-bus.jpg", "image-rs/examples/scaledown/test.jpg")
SIDES = (4032, 3024)


def photos() -> list[Path]:
    """The 12 MP photos to measure with."""
    found = [CORPUS / name for name in NAMES if (CORPUS / name).exists()]
    return found or [large("made up, 12 MP", SIDES)]


def large(name: str, sides: tuple[int, int], *, progressive: bool = False) -> Path:
    """A JPEG of that size, enlarged from a photo where there is one."""
    path = RESULTS / f"{name.replace(' ', '-')}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = CORPUS / NAMES[0]
        picture = Image.open(source) if source.exists() else _made_up()
        picture.convert("RGB").resize(sides).save(path, quality=92, progressive=progressive)
    return path


def _made_up() -> Image.Image:
    shapes = [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90)]
    picture = Image.merge("RGB", shapes).resize(SIDES)
    return Image.blend(picture, Image.effect_noise(SIDES, 60).convert("RGB"), 0.2)
