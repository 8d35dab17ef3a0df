"""The recipe: which thumbnails are wanted, as plain data, and a fingerprint of everything that changes their bytes.

Pure: knows nothing of files or Pillow. The one thing a reader would get wrong: a size's bytes depend on the other sizes
too (each is made from the next larger one), so only the whole recipe has a fingerprint.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from config.settings import SizeSettings, ThumbnailSettings

# Raise it whenever the engine makes other bytes from the same input: what was made by an older one is then remade.
ENGINE = 3

Fit = Literal["contain", "cover"]
OutputFormat = Literal["jpeg", "webp", "avif", "png"]
Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
Kept = Literal["copyright"]

_SUFFIXES: dict[OutputFormat, str] = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "png": "png"}


@dataclass(frozen=True, slots=True)
class WantedSize:
    """One wanted thumbnail; `width` and `height` are the box in pixels that it is fitted into, `quality` is 1 to 100.

    `subsampling` counts for JPEG and AVIF (lossy WebP is always 4:2:0), `progressive` for JPEG.
    """

    width: int
    height: int
    fit: Fit
    format: OutputFormat
    quality: int
    subsampling: Subsampling = "4:2:0"
    progressive: bool = False

    @property
    def label(self) -> str:
        """The box as it appears in directory and file names: "640x640"."""
        return f"{self.width}x{self.height}"

    @property
    def suffix(self) -> str:
        """The file suffix without its dot."""
        return _SUFFIXES[self.format]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every wanted thumbnail, in the order of the settings.

    `background` is (red, green, blue), 0 to 255 each; `keep` names what thumbnails keep of the original's metadata.
    """

    sizes: tuple[WantedSize, ...]
    background: tuple[int, int, int]
    keep: tuple[Kept, ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hex characters that change exactly when the bytes of any thumbnail may: sizes in another order do not."""
        wanted = sorted(json.dumps(asdict(size), sort_keys=True) for size in self.sizes)
        return hashlib.sha256(
            json.dumps([ENGINE, wanted, self.background, sorted(set(self.keep))]).encode()
        ).hexdigest()[:16]


def recipe_from(settings: ThumbnailSettings) -> Recipe:
    """Fill in what the section says where a size says nothing of its own."""
    red, green, blue = bytes.fromhex(settings.background.removeprefix("#"))
    return Recipe(tuple(_wanted(size, settings) for size in settings.sizes), (red, green, blue), settings.keep)


def _wanted(size: SizeSettings, section: ThumbnailSettings) -> WantedSize:
    progressive = section.progressive if size.progressive is None else size.progressive
    return WantedSize(
        *size.box,
        size.fit,
        size.format or section.format,
        size.quality or section.quality,
        size.subsampling or section.subsampling,
        progressive,
    )
