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

    xarray makes it of the `result` itself. Matplotlib and plotly are imported when they are wanted.
    """

    def __init__(self, result: xr.Dataset) -> None:
        self._result = result

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {size}" for dim, size in self._result.sizes.items())
        held = ", ".join(map(str, self._result.data_vars))
        over = f" over {sizes}" if sizes else ""
        return f"Atlas({self._result.attrs.get('probe', 'a dataset')}: {held}{over}; plot, surface, save, export)"

    def plot(
        self, variable: str | None = None, *, ax: Axes | None = None, split: str | None = None, **knobs: Any
    ) -> Axes:
        """Draw the result with matplotlib, in the form that its dimensions tell; see `figures.plot`.

        A plane shows one split, and its title says which.

        Args:
            variable: what to draw, such as "accuracy"; by default the loss.
            ax: where to; by default a pyplot figure of its own, which a notebook shows, and `plt.show()` in a script.
            split: which one, of a plane by default the first; what is no plane shows all splits by default.
            **knobs: of the probe's draw function, see `figures.plot`.

        Raises:
            ValueError: see `figures.plot.plot`.
        """
        from lossatlas.figures.plot import plot

        return plot(self._result, variable, ax=ax, split=split, **knobs)

    def surface(self, variable: str = "loss", *, split: str | None = None) -> go.Figure:
        """A plane as a surface that turns (plotly): the quantity `variable` of one `split`, by default the first."""
        from lossatlas.figures.interactive import surface

        return surface(self._result, variable=variable, split=split)

    def save(self, path: str | Path) -> None:
        """Write the whole result as netCDF to the file `path`; `lossatlas.load` reads it."""
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
        """Write one split for other programs; see `lossatlas.export`.

        Args:
            path: of the file, ending in .vti, .vtp, .obj, .stl or .npz.
            variable: what the height is.
            split: by default the first one.
            log: take log10 of it; what is not above zero is then not finite.
            height: what the range of heights is made, relative to the longer side of the plane; None: the values
                themselves.

        Raises:
            ValueError: another ending, a result that is no plane (or curve), or one without a cell to draw.
        """
        exports.export(self._result, path, variable=variable, split=split, log=log, height=height)
