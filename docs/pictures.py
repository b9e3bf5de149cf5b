"""Makes every picture of these pages anew, by running the example scripts: `python docs/pictures.py [NAME ...]`.

Colours are reduced to a palette of 128, which shows no difference and halves the files.
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


def main(names: list[str]) -> None:
    """Run the scripts of these names, or all; write docs/images."""
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
                    reduced = Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE)
                    reduced.save(ROOT / "docs" / "images" / picture.name, optimize=True)
        plt.close("all")


if __name__ == "__main__":
    main(sys.argv[1:])
