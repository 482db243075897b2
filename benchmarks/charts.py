"""Charts that are legible on light and on dark pages: no background of their own, and colours in between."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[1] / "docs" / "charts"
# As far from white as from black: 4.5 to 1 on either.
INK: Final = "#767676"
OURS: Final = "#1f8a5f"
OTHERS: Final = ("#c2662d", "#3f7fbf", "#9a6bc4")
_DPI: Final = 120
_INCHES: Final = 7.5


@contextmanager
def chart(name: str, title: str, height: float = 2.8) -> Iterator[Any]:
    """Axes to draw on; afterwards they are `docs/charts/NAME.png`."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    style = {f"{what}.color": INK for what in ("xtick", "ytick", "text")}
    style |= {"axes.edgecolor": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "grid.color": INK}
    with plt.rc_context({**style, "font.size": 9, "grid.alpha": 0.25, "grid.linewidth": 0.6}):
        figure, axes = plt.subplots(figsize=(_INCHES, height), layout="constrained")
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        yield axes
        FOLDER.mkdir(parents=True, exist_ok=True)
        # Without the moment and the version, the same figures give the same file.
        figure.savefig(FOLDER / f"{name}.png", dpi=_DPI, transparent=True, metadata={"Software": None})
        plt.close(figure)
