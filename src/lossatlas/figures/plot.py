"""Which form a result has, and its pictures: one for a look at it, or the pages of a report.

The form follows from dimensions and variables alone; which probe measured the result does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lossatlas.figures import curves, distributions, families, planes, relief, spectra, style
from lossatlas.figures.scale import Scale
from lossatlas.splits import splits

Results = xr.Dataset | Mapping[str, xr.Dataset]

SIZE = (4.6, 3.4)  # inches
WANTED = (
    "a quantity over one axis or over alpha and beta, eigenvalues, a density with its position, or one over sample, "
    "with or without radius"
)


@dataclass(frozen=True)
class Form:
    """How results of one form are drawn: one picture of a result, and every page by its kind."""

    draw: Callable[..., Axes]
    kinds: Callable[[Any], tuple[str, ...]]
    page: Callable[[Any, str, str], Figure]
    one_split: bool = False  # whether a picture shows one split only
    beside: frozenset[str] = frozenset()  # dimensions besides its axes that a picture takes
    paged: frozenset[str] = frozenset()  # dimensions that its pages take besides those

    @classmethod
    def single(cls, kind: str, draw: Callable[..., Axes], page: Callable[[xr.Dataset, str], Figure]) -> Form:
        """A form that has one page."""
        return cls(draw, lambda _: (kind,), lambda result, title, _: page(result, title))


FORMS = {
    "curve": Form(curves.draw_curve, curves.kinds, curves.page, beside=frozenset({"draw"})),
    "plane": Form(planes.draw_plane, planes.kinds, planes.page, one_split=True),
    "spectrum": Form.single("spectrum", spectra.draw_spectrum, spectra.spectrum_page),
    "density": Form.single("density", spectra.draw_density, spectra.density_page),
    "blocks": Form.single("blocks", spectra.draw_block_eigenvalues, spectra.blocks_page),
    "distribution": Form(distributions.draw, distributions.kinds, distributions.page),
    "curve family": Form(
        families.draw_curves, families.curve_kinds, families.curve_page, one_split=True,
        beside=frozenset({style.FAMILY, "seed"}),
    ),
    "plane family": Form(
        planes.draw_plane, families.plane_kinds, families.plane_page, one_split=True,
        paged=frozenset({style.FAMILY, "seed"}),
    ),
}  # fmt: skip


def form(result: xr.Dataset) -> str:
    """The form of a result, one of `FORMS`; empty where it holds nothing that can be drawn, as single numbers.

    Args:
        result: of any probe, with or without the dimension `split`.
    """
    names = style.quantities(result)
    if names:
        over, dims = style.axes(result, names[0]), result[names[0]].dims
        family = style.FAMILY in dims and style.FAMILY not in over
        return ("plane" if len(over) == 2 else "curve") + (" family" if family else "")
    if {"position", "density"} <= set(result.data_vars):
        return "density"
    ranks = set(result.eigenvalues.dims) - {"split"} if "eigenvalues" in result else set()
    if ranks == {"eigenvalue"}:
        return "spectrum"
    if ranks == {"block", "eigenvalue"} and {"smallest", "trace"} <= set(result.data_vars):
        return "blocks"
    return "distribution" if distributions.drawn(result) else ""


def kinds(results: Results) -> tuple[str, ...]:
    """The kinds of the pages that `pages` will yield, in that order, without drawing one.

    Args:
        results: as for `pages`.
    """
    shape, drawn = _of_one_form(results)
    return FORMS[shape].kinds(drawn) if shape else ()


def pages(results: Results, title: str) -> Iterator[tuple[str, Figure]]:
    """Every page of a result as its kind and the figure: nothing where there is nothing to draw.

    A curve has a page for every quantity, named as that; a plane "contour" and "surface" of the loss (or of what a
    quadratic model is of), then a page for every other quantity; the others "spectrum", "density", "blocks", "hist"
    and "radius"; a family of curves "surface" and "curves", one of planes "contour" and "surface_wd=<value>" for each.

    Args:
        results: one result, or several curves by the words that tell them apart, drawn together with a line style each.
        title: of every figure.
    """
    shape, drawn = _of_one_form(results)
    for kind in FORMS[shape].kinds(drawn) if shape else ():
        yield kind, FORMS[shape].page(drawn, title, kind)


def plot(
    result: xr.Dataset, variable: str | None = None, *, ax: Axes | None = None, split: str | None = None, **knobs: Any
) -> Axes:
    """Draw a result into axes, or into a pyplot figure of its own with a legend, and a colour bar for a plane.

    A plane or a family shows one split, by default the first, and its title says which; its scale is that of all
    splits. Everything else shows all splits, unless one is named.

    Args:
        result: of any probe.
        variable: the quantity, where there are several; the loss if left out.
        ax: what to draw into.
        split: which one.
        knobs: to what draws the form of the result: `curves.draw_curve`, `planes.draw_plane`, ...

    Raises ValueError where there is nothing to draw, no such split or variable, or dimensions to choose from.
    """
    if variable is not None and not isinstance(variable, str):
        raise ValueError(f"variable is a {type(variable).__name__}: wanted a name; axes are given as ax=")
    shape = form(result)
    if not shape:
        raise ValueError(f"the result has no form that can be drawn, it holds {_contents(result)}: wanted {WANTED}")
    if variable is not None:
        if variable not in result.data_vars:
            raise ValueError(f"the result has no {variable!r}: choose from {', '.join(map(str, result.data_vars))}")
        knobs["variable"] = variable
    names = [name for name in splits(result) if name]
    if split is not None and split not in names:
        raise ValueError(f"split is {split!r}: choose from {', '.join(names) or 'nothing, the result is of one loss'}")
    shown = split or next(iter(names), None)
    is_plane = FORMS[shape].draw is planes.draw_plane
    choice = style.quantities(result)
    if choice:
        _check_dimensions(result, knobs.setdefault("variable", choice[0]), FORMS[shape].beside)
    elif shape == "distribution":
        knobs.setdefault("variable", distributions.drawn(result)[0])
    elif variable is not None:
        raise ValueError(f"variable is {variable!r}: a result of the form {shape} has one picture, leave it out")
    if is_plane:
        knobs["scale"] = knobs.get("scale") or Scale.of(result[knobs["variable"]])
    if FORMS[shape].one_split:
        knobs["split"] = shown
    elif split is not None:
        result = result.sel(split=[split])
    own = ax is None
    with mpl.rc_context(style.RC if own else {}):
        ax = _new_axes() if ax is None else ax
        FORMS[shape].draw(result, ax, **knobs)
        rows = _add_legend(ax) if own else 0
        if "split" in knobs and len(names) > 1:
            ax.set_title(str(shown), loc="left", pad=4 + 1.6 * style.SMALL * rows)  # above the legend
        if own and is_plane:
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND))
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND))
            if not knobs["scale"].empty:
                relief.color_bar(ax.figure, knobs["scale"], style.label(result[knobs["variable"]]), ax=ax)
    return ax


def _new_axes() -> Axes:
    # pyplot, since only its figures are shown by notebooks and plt.show(); nobody who gives axes needs it.
    import matplotlib.pyplot as plt

    ax = plt.figure(figsize=SIZE, layout="constrained").add_subplot()
    ax.tick_params(which="major", **style.TICKS)
    ax.tick_params(which="minor", width=0.4, length=1.5)
    return ax


def _of_one_form(results: Results) -> tuple[str, Any]:
    """The form of what is drawn together, and that as its pages take it: curves by their names."""
    named = {"": results} if isinstance(results, xr.Dataset) else dict(results)
    shapes = {name: form(result) for name, result in named.items()}
    shape = next(iter(shapes.values()), "")
    if len(named) > 1 and set(shapes.values()) != {"curve"}:
        told = ", ".join(f"{name!r} is {shape or 'nothing to draw'}" for name, shape in shapes.items())
        raise ValueError(f"{told}: only curves are drawn together")
    for result in named.values() if shape else ():
        for variable in style.quantities(result):
            _check_dimensions(result, variable, FORMS[shape].beside | FORMS[shape].paged)
    return shape, named if shape == "curve" else next(iter(named.values()), None)


def _contents(result: xr.Dataset) -> str:
    held = [f"{name} ({', '.join(map(str, values.dims))})" for name, values in result.data_vars.items()]
    return ", ".join(held) or "nothing"


def _check_dimensions(result: xr.Dataset, variable: str, beside: frozenset[str]) -> None:
    """Whether the quantity is over the axes of the result, and over nothing of which one has to be chosen first."""
    choice = style.quantities(result)
    over = style.axes(result, choice[0])
    if style.axes(result, variable) != over:
        raise ValueError(f"{variable} is not over {' and '.join(over)}: choose from {', '.join(choice)}")
    beyond = [str(dim) for dim in result[variable].dims if dim not in {"split", *over} | beside]
    if beyond:
        raise ValueError(f"{variable} has the dimension {beyond[0]} too: choose one, result.sel({beyond[0]}=...)")


def _add_legend(ax: Axes) -> int:
    """A legend over the axes; how many rows it has."""
    columns, rows = style.legend_columns(ax.get_legend_handles_labels()[1], SIZE[0] - 0.6)
    style.legend_above(ax, columns)
    return rows
