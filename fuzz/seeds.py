"""What mutations begin with: small pictures of every format with everything that can be in them, and the corpus.

Those made in code carry the words of CANARY in every kind of metadata; no thumbnail may.
"""

import os
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

import images
from tasks.errors import IngestError
from tasks.sniff import HEAD_BYTES, sniff

CANARY = "CANARY-7f3a9c"
_MAX_SEED_BYTES = 120_000  # larger ones make few inputs a second, and find nothing that small ones do not
_XMP = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><a>{CANARY}</a></rdf:RDF></x:xmpmeta>".encode()


def seeds_in_code() -> list[tuple[str, bytes]]:
    """(name, content) of pictures in every format, mode and orientation that the encoders here can make.

    Always the same but for the time of day that is written into the animated AVIF.
    """
    made = [(f"{kind}-photo", _with_everything(kind)) for kind in images.FORMATS]
    for kind, mode in _modes():
        made.append((f"{kind}-{mode}", images.encoded(_picture(mode), kind)))
    small = images.photo(60, 40)
    for orientation in (3, 6):
        made += [(f"{kind}-turned-{orientation}", images.oriented(small, orientation, kind)) for kind in _TURNED]
    frames = [images.photo(40, 30, seed=seed) for seed in range(3)]
    made += [(f"{kind}-animated", images.animation(kind, *frames)) for kind in ("gif", "webp", "png", "avif", "tiff")]
    made += [(f"tiff-{name}", images.encoded(small, "tiff", compression=name)) for name in _TIFF_COMPRESSIONS]
    made += [
        ("jpeg-progressive", images.encoded(small, progressive=True)),
        ("jpeg-scans", images.jpeg_with_scans(40)),
        ("jpeg-444", images.encoded(small, subsampling="4:4:4", restart_marker_blocks=2)),
        ("jpeg-brg", images.encoded(small, icc_profile=images.icc_profile(order="brg"))),
        ("png-16", images.encoded(images.grey_16(), "png")),
        ("tiff-16", images.encoded(images.grey_16(), "tiff")),
        ("gif-frames", images.gif_of(50)),
        ("webp-lossless", images.encoded(small.convert("RGBA"), "webp", lossless=True)),
        ("webp-bomb", images.webp_bomb()),
        ("png-bomb", images.png_of(3000, 3000)),
        ("dng", images.dng()),
    ]
    return made


def format_of(content: bytes) -> str:
    """One of tasks.sniff.FORMATS, or the reason why it is none."""
    try:
        return sniff(content[:HEAD_BYTES])
    except IngestError as why:
        return str(why.reason)


def seeds_of(folder: Path) -> list[tuple[str, bytes]]:
    """(name, content) of the files below a folder that are small enough, in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".tsv", ".md"))
    small = [path for path in files if 0 < path.stat().st_size <= _MAX_SEED_BYTES]
    return [(os.fspath(path.relative_to(folder)), path.read_bytes()) for path in small]


_TURNED = ("jpeg", "png", "webp", "tiff", "avif", "heic")
_TIFF_COMPRESSIONS = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")


def _modes() -> list[tuple[str, str]]:
    modes = {"jpeg": ["L", "CMYK"], "png": ["1", "L", "LA", "P", "RGBA"], "webp": ["RGBA"], "gif": ["L", "P"]}
    modes |= {"tiff": ["1", "L", "P", "RGBA", "CMYK", "LAB", "F", "I"], "bmp": ["1", "L", "P"], "avif": ["L", "RGBA"]}
    return [(kind, mode) for kind, of_kind in modes.items() for mode in of_kind]


def _picture(mode: str) -> Image.Image:
    picture = images.photo(60, 40)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        return picture.convert(mode)
    return picture.convert("L").convert(mode) if mode in ("F", "I") else picture.convert(mode)


def _with_everything(kind: str) -> bytes:
    """A photo with EXIF, XMP, profile and comment, as far as the format's writer puts them in."""
    tags = images.exif(orientation=6, make="Canon", model=f"Canon {CANARY}", taken="2024:05:06 07:08:09")
    tags[0x8298] = CANARY
    options: dict[str, Any] = {"exif": tags, "icc_profile": images.icc_profile()}
    if kind in ("jpeg", "gif"):
        options["comment"] = CANARY.encode()
    if kind in ("jpeg", "webp", "avif"):
        options["xmp"] = _XMP
    if kind == "png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", CANARY, zip=True)
        text.add_itxt("XML:com.adobe.xmp", _XMP.decode())
        options["pnginfo"] = text
    return images.encoded(images.photo(60, 40), kind, **({} if kind == "bmp" else options))
