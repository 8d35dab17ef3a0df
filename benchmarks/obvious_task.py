"""The Celery task that everybody writes first: Pillow's thumbnail() for each size."""

import os
from pathlib import Path

from celery import Celery
from PIL import Image

SIZES = (1280, 640, 200)

app = Celery(broker=os.environ.get("OBVIOUS_BROKER"))


@app.task(name="thumbnails")
def thumbnails(photo: str, out: str) -> None:
    """Write <out>/<side>/<name>.jpg for each side."""
    for side in SIZES:
        with Image.open(photo) as image:
            image.thumbnail((side, side))
            image.convert("RGB").save(f"{out}/{side}/{Path(photo).stem}.jpg", quality=82)
