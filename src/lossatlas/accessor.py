"""`result.atlas`: drawing, saving and exporting as methods of every result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from lossatlas.results import export as exports
from lossatlas.results import storage as results

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes


@xr.register_dataset_accessor("atlas")
class Atlas:
    """What can be done with a result of a probe, one measured just now as well as one that was loaded.

    Matplotlib and plotly are imported when they are wanted.
    """

    def __init__(self, result: xr.Dataset) -> None:
        self._result = result

    def plot(
        self, ax: Axes | None = None, *, variable: str | None = None, split: str | None = None, **knobs: Any
    ) -> Axes:
        """Draw the result with matplotlib, as its probe's figures do; see `figures.plot`.

        Without `ax` in a pyplot figure of its own, which a notebook shows, and `plt.show()` in a script. A plane shows
        one split, by default the first, and its title says which.
        """
        from lossatlas.figures.plot import plot

        return plot(self._result, ax, variable=variable, split=split, **knobs)

    def surface(self, *, variable: str = "loss", split: str | None = None) -> go.Figure:
        """A plane as a surface that turns (plotly), of the first split unless told otherwise."""
        from lossatlas.figures.interactive import surface

        return surface(self._result, variable=variable, split=split)

    def save(self, path: str | Path) -> None:
        """Write the whole result as netCDF; `lossatlas.results.storage.load` reads it."""
        results.save(self._result, Path(path))

    def export(
        self,
        path: str | Path,
        *,
        variable: str = "loss",
        split: str | None = None,
        log: bool = False,
        height: float | None = 0.5,
    ) -> None:
        """Write one split for other programs: .vti, .vtp, .obj, .stl or .npz; see `lossatlas.results.export.export`."""
        exports.export(self._result, path, variable=variable, split=split, log=log, height=height)
