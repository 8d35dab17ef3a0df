"""Draw what the engine makes of many files onto contact sheets, for somebody to look at: a program.

    PYTHONPATH=. python tests/contact_sheet.py OUTPUT_FOLDER FILE_OR_FOLDER...

Writes page-01.png and so on, files that look alike to the engine (by format) side by side, each with its name below; and
refused.txt with every file that got none, and why. Orientation sets are left out: corners are checked by tests.
Transparent parts are drawn over a chequerboard, so that they are not taken for white.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from corpus_sweep import engine_ending, in_a_child

COLUMNS, ROWS, SIDE, LABEL = 9, 6, 180, 34


def files_below(places: list[Path]) -> Iterator[Path]:
    """Every file of these places, without the orientation sets."""
    for place in places:
        found = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        yield from (path for path in found if "orientation-examples" not in str(path))


def tile(path: Path) -> tuple[dict[str, Any], Image.Image | None]:
    """How one file ended, and its cell of the sheet; None when it was refused."""
    with tempfile.TemporaryDirectory() as folder:
        found = in_a_child(lambda: engine_ending(path, Path(folder)))
        if found["ending"] != "done":
            return found, None
        with Image.open(Path(folder, "0.png")) as picture:
            picture.thumbnail((SIDE - 6, SIDE - 6), Image.Resampling.LANCZOS)
            return found, _labelled(picture.convert("RGBA"), path, found)


def _labelled(picture: Image.Image, path: Path, found: dict[str, Any]) -> Image.Image:
    cell = Image.new("RGBA", (SIDE, SIDE + LABEL), "#d8d8d8")
    place = (SIDE - picture.width) // 2, (SIDE - picture.height) // 2
    cell.paste(_chequered(picture.size), place)
    cell.alpha_composite(picture, place)
    draw = ImageDraw.Draw(cell)
    width, height = found["upright"]
    draw.text((2, SIDE), path.name[:30], fill="black", font_size=11)
    draw.text((2, SIDE + 11), path.name[30:60], fill="black", font_size=11)
    draw.text((2, SIDE + 22), f"{found['format']} {width}x{height} {path.parent.name[:16]}", fill="#444", font_size=10)
    return cell


def _chequered(size: tuple[int, int]) -> Image.Image:
    small = Image.new("L", (-(-size[0] // 8), -(-size[1] // 8)))
    small.putdata([180 if (n % small.width + n // small.width) % 2 else 110 for n in range(small.width * small.height)])
    return (
        small.resize((small.width * 8, small.height * 8), Image.Resampling.NEAREST).crop((0, 0, *size)).convert("RGBA")
    )


def main() -> None:
    """Draw the sheets."""
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    drawn, refused = [], []
    for path in files_below([Path(name) for name in sys.argv[2:]]):
        found, cell = tile(path)
        if cell:
            drawn.append((found["format"], str(path), cell))
        else:
            refused.append(f"{found['ending']}\t{path}\t{found.get('message', '')}\n")
    drawn.sort(key=lambda entry: entry[:2])
    (output / "refused.txt").write_text("".join(sorted(refused)))
    for page in range(-(-len(drawn) // (COLUMNS * ROWS))):
        sheet = Image.new("RGB", (COLUMNS * SIDE, ROWS * (SIDE + LABEL)), "white")
        for n, (_, _, cell) in enumerate(drawn[page * COLUMNS * ROWS : (page + 1) * COLUMNS * ROWS]):
            sheet.paste(cell.convert("RGB"), (n % COLUMNS * SIDE, n // COLUMNS * (SIDE + LABEL)))
        sheet.save(output / f"page-{page + 1:02}.png")
    sys.stdout.write(f"{len(drawn)} drawn, {len(refused)} refused: see {output}\n")


if __name__ == "__main__":
    main()
