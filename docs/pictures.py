"""Makes every picture of these pages anew, by running the example scripts: `python docs/pictures.py [NAME ...]`.

`atlas` is the wall of landscapes of the moons study, from the folder that `make run` left. Curves are reduced to a
palette of 128 colours, which shows no difference and halves the files; a map needs all of them.
"""

import runpy
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from PIL import Image

ROOT = Path(__file__).parent.parent
LEFT_OUT = "digits_problem", "export"  # for the command line, and for other programs
UNUSED = "surface"  # in the names of weight_decay's further pictures
IMAGES = ROOT / "docs" / "images"
WALL = ROOT / "reports" / "figures" / "dataset=moons" / "atlas.png"
WALL_WIDTH = 1200  # pixels


def main(names: list[str]) -> None:
    """Run the scripts of these names, or all; write docs/images."""
    if not names or "atlas" in names:
        draw_wall()
    mpl.use("Agg")
    mpl.rcParams["savefig.dpi"] = 150
    scripts = [script for script in sorted((ROOT / "examples").glob("*.py")) if script.stem not in LEFT_OUT]
    for script in scripts:
        if names and script.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            sys.argv = [str(script), folder]
            runpy.run_path(str(script), run_name="__main__")
            for picture in sorted(Path(folder).glob("*.png")):
                if UNUSED not in picture.name:
                    _save(Image.open(picture).convert("RGB"), picture.name)
        plt.close("all")


def draw_wall() -> None:
    """Take the wall of a finished moons study."""
    if not WALL.is_file():
        print(f"no {WALL.relative_to(ROOT)}: `make run` draws it; the picture of the atlas stays as it is")
        return
    image = Image.open(WALL).convert("RGB")
    size = (WALL_WIDTH, round(image.height * WALL_WIDTH / image.width))
    small = image.resize(size, Image.Resampling.LANCZOS)
    small.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(IMAGES / "atlas.png", optimize=True)


def _save(picture: Image.Image, name: str) -> None:
    few = picture.getcolors(10_000) is not None  # a map has 15,000 and more
    reduced = picture.quantize(128, dither=Image.Dither.NONE) if few else picture
    reduced.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
