"""Small pictures of a PDF's pages. Needs pypdfium2 and pillow, so it is imported late."""

import io
from collections.abc import Iterator
from typing import Final

import pypdfium2
from PIL import Image

WIDTH: Final = 360  # pixels
_OVERSIZE: Final = 4  # drawn so much larger, then shrunk: hairlines and small print stay visible


def page_count(pdf: bytes) -> int:
    """Return the number of pages of a PDF."""
    with pypdfium2.PdfDocument(pdf) as document:
        return len(document)


def thumbnails(pdf: bytes, width: int = WIDTH) -> Iterator[bytes]:
    """Yield a PNG of each page in turn, `width` pixels wide, the height in proportion."""
    with pypdfium2.PdfDocument(pdf) as document:
        for page in document:
            scale = width / page.get_width()
            large = page.render(scale=_OVERSIZE * scale).to_pil()
            small = large.resize((width, round(scale * page.get_height())), Image.Resampling.LANCZOS)
            png = io.BytesIO()
            small.save(png, "PNG", optimize=True)
            yield png.getvalue()
