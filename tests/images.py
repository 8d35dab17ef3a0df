"""Test images, made in code: a picture whose corners tell how it lies, in every format, orientation and state of damage."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 40), (40, 50, 220), (230, 210, 40)
# What an upright `photo` shows in its corners.
CORNERS = {"upper left": RED, "upper right": GREEN, "lower left": BLUE, "lower right": YELLOW}
FORMATS = ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic")
SUFFIXES = {name: {"jpeg": "jpg", "tiff": "tif"}.get(name, name) for name in FORMATS}

# The way from an upright picture to pixels as a camera stores them: the inverse of what each orientation asks for.
_LAY_DOWN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photo(width: int = 240, height: int = 160, *, seed: int = 0) -> Image.Image:
    """A gradient with a little noise, like a photo to an encoder, with a block of CORNERS in each corner."""
    red = Image.linear_gradient("L").resize((width, height))
    green = Image.linear_gradient("L").rotate(90).resize((width, height))
    blue = Image.radial_gradient("L").resize((width, height))
    noise = Image.frombytes("L", (64, 64), bytes((i * 7919 + seed * 104729) % 251 for i in range(4096)))
    picture = Image.blend(Image.merge("RGB", (red, green, blue)), noise.resize((width, height)).convert("RGB"), 0.1)
    block = max(1, width // 4), max(1, height // 4)
    right, lower = width - block[0], height - block[1]
    places = ((0, 0), (right, 0), (0, lower), (right, lower))
    for colour, place in zip(CORNERS.values(), places, strict=True):
        picture.paste(colour, (*place, place[0] + block[0], place[1] + block[1]))
    return picture


def corners_of(picture: Image.Image) -> dict[str, str]:
    """Which of the corner colours is nearest to each corner of a picture, by the names of CORNERS."""
    rgb = picture.convert("RGB")
    x, y = max(0, rgb.width // 10), max(0, rgb.height // 10)
    right, lower = rgb.width - 1 - x, rgb.height - 1 - y
    places = ((x, y), (right, y), (x, lower), (right, lower))
    return {name: _nearest(rgb.getpixel(place)) for name, place in zip(CORNERS, places, strict=True)}


UPRIGHT = {name: name for name in CORNERS}


def _nearest(colour: Any) -> str:
    return min(CORNERS, key=lambda name: sum(abs(a - b) for a, b in zip(CORNERS[name], colour, strict=True)))


def encoded(picture: Image.Image, kind: str = "jpeg", **options: Any) -> bytes:
    """The file content of a picture in one of FORMATS; `options` are Pillow's."""
    if kind == "heic":
        import pillow_heif  # noqa: PLC0415

        pillow_heif.register_heif_opener(thumbnails=False)
        picture = picture.copy()
        if "exif" in options:  # only from here does its writer also make the box that turns the picture
            picture.info["exif"] = _exif_bytes(options.pop("exif"))
    content = BytesIO()
    picture.save(content, format={"heic": "HEIF"}.get(kind, kind), **options)
    return content.getvalue()


def _exif_bytes(tags: Any) -> bytes:
    return tags.tobytes() if isinstance(tags, Image.Exif) else bytes(tags)


def image_bytes(kind: str = "jpeg", width: int = 240, height: int = 160, **options: Any) -> bytes:
    """A photo of that size in that format."""
    return encoded(photo(width, height), kind, **options)


def exif(*, orientation: Any = None, make: str = "", model: str = "", taken: str = "", changed: str = "") -> Image.Exif:
    """EXIF with what is given; times as EXIF writes them ("2024:05:06 07:08:09")."""
    tags = Image.Exif()
    for tag, value in ((0x0112, orientation), (0x010F, make), (0x0110, model), (0x0132, changed)):
        if value not in (None, ""):
            tags[tag] = value
    if taken:
        tags.get_ifd(0x8769)[0x9003] = taken
    return tags


def oriented(picture: Image.Image, orientation: int, kind: str = "jpeg", **options: Any) -> bytes:
    """A file whose stored pixels lie as a camera of that orientation stores them, so that upright is `picture`."""
    stored = picture.transpose(_LAY_DOWN[orientation]) if orientation in _LAY_DOWN else picture
    return encoded(stored, kind, exif=exif(orientation=orientation), **options)


def truncated(content: bytes, fraction: float = 0.6) -> bytes:
    """The beginning of a file, as an upload that was cut off leaves it."""
    return content[: int(len(content) * fraction)]


def zero_tailed(content: bytes, fraction: float = 0.6, *, page: int = 4096) -> bytes:
    """A file whose full size was reserved, and of whose pages only the first ones are written yet."""
    pages = int(len(content) * fraction) // page
    assert pages > 0, "a file of one page is written at once"
    return content[: pages * page].ljust(len(content), b"\0")


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(width: int, height: int, *, bits: int = 1, colour_type: int = 0) -> bytes:
    """A black PNG of any size, whole and decodable, at a thousandth of its pixels' size."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    row = bytes(1 + (width * bits * channels + 7) // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(row * 100) for _ in range(height // 100))
    pixels += packer.compress(row * (height % 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in chunks)


def png_from(width: int, bits: int, colour_type: int, rows: Sequence[bytes], chunks: Mapping[bytes, bytes]) -> bytes:
    """A PNG of those packed rows, with further chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = {b"IHDR": header, **chunks, b"IDAT": pixels, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in parts.items())


def png_bomb() -> bytes:
    """20000x20000 pixels in about 200 kB: 400 million, more than the default limit."""
    return png_of(20_000, 20_000)


def webp_bomb(width: int = 13_000, height: int = 13_000) -> bytes:
    """34 bytes that ask a decoder for gigabytes."""
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sizes
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_with_scans(scans: int, width: int = 64, height: int = 64) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are so many."""
    content = encoded(photo(width, height), progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (scans - content.count(b"\xff\xda") + 1) + b"\xff\xd9"


def jpeg_in_separate_scans(content: bytes) -> bytes:
    """A baseline JPEG of three components that says it begins with a scan of the first alone; only its header is sound."""
    at = content.index(b"\xff\xda")
    return content[:at] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + content[at + 14 :]


def gif_of(frames: int) -> bytes:
    """A tiny GIF with that many frames."""
    content = encoded(Image.new("P", (2, 2)), "gif")
    frame = content[content.index(b",\0\0\0\0") : -1]
    return content[: content.index(b",\0\0\0\0")] + frame * frames + b";"


def animation(kind: str, *pictures: Image.Image) -> bytes:
    """An animated GIF, WebP, PNG or AVIF of those frames, or a TIFF of those pages."""
    options = {} if kind == "tiff" else {"duration": 100}  # frames of no duration melt into one in a WebP
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)


def bmp_with_alpha(picture: Image.Image) -> bytes:
    """An RGBA picture as a bitmap that says so (BITMAPV4HEADER); Pillow's own writer says nothing of alpha."""
    pixels = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, *picture.size, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks
    head = (head + b"BGRs").ljust(108, b"\0")
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + head + pixels


def tiff_with(tags: Mapping[int, tuple[int, int, int]]) -> bytes:
    """A little-endian TIFF of 4x4 grey pixels with further tags, each (type, count, value); how RAW files are told."""
    picture = {
        256: (3, 1, 4),
        257: (3, 1, 4),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        278: (3, 1, 4),
        279: (4, 1, 16),
    }
    entries = {**picture, 273: (4, 1, 0), **tags}
    pixels_at = 8 + 2 + 12 * len(entries) + 4
    entries[273] = (4, 1, pixels_at)
    directory = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + bytes(range(0, 256, 16))


def dng() -> bytes:
    """A TIFF that says it is a DNG; a TIFF decoder opens it."""
    return tiff_with({0xC612: (1, 4, 0x00000401)})


def raw_flavours() -> dict[str, bytes]:
    """The beginnings of camera RAW files, by what they are."""
    tail = bytes(200)
    return {
        "dng": dng(),
        "nef": tiff_with({262: (3, 1, 32803)}),
        "cr2": b"II*\0\x10\0\0\0CR\x02\0" + tail,
        "cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + tail,
        "raf": b"FUJIFILMCCD-RAW 0201" + tail,
        "rw2": b"IIU\0\x18\0\0\0" + tail,
        "orf": b"IIRO\x08\0\0\0" + tail,
        "crw": b"II\x1a\0\0\0HEAPCCDR" + tail,
        "x3f": b"FOVb\0\0\2\0" + tail,
        "mrw": b"\0MRM\0\1\2\3" + tail,
    }


def grey_16(width: int = 64, height: int = 64) -> Image.Image:
    """16-bit grey from black at the top to white at the bottom."""
    rows = (struct.pack("<H", 65535 * y // (height - 1)) * width for y in range(height))
    return Image.frombytes("I;16", (width, height), b"".join(rows))


def icc_profile(space: str = "RGB ", *, gamma: float = 2.2, order: str = "rgb") -> bytes:
    """A small matrix profile (ICC.1:2010): sRGB's primaries, in the given order, with a plain gamma; or "GRAY".

    With order "brg" red pixels are blue by the profile: nobody can overlook whether it was applied.
    """
    primaries = {"r": (0.4360, 0.2225, 0.0139), "g": (0.3851, 0.7169, 0.0971), "b": (0.1431, 0.0606, 0.7141)}
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79),
    }
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        for channel, primary in zip("rgb", order, strict=True):
            tags[channel.encode() + b"XYZ"] = _xyz(*primaries[primary])
            tags[channel.encode() + b"TRC"] = curve
    return _profile(space, tags)


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(space: str, tags: Mapping[bytes, bytes]) -> bytes:
    at = 128 + 4 + 12 * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        padded = body.ljust(-(-len(body) // 4) * 4, b"\0")
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += padded
    head = struct.pack(
        ">I4sI4s4s4s", 128 + len(table) + len(bodies), b"test", 0x02400000, b"mntr", space.encode(), b"XYZ "
    )
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + bodies
