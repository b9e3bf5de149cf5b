"""What each kind of result says, in words and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lossatlas.document.blocks import Block, Cell, Items, Paragraph, Table
from lossatlas.model_report.meaning import TITLES
from lossatlas.numbers import MISSING, counted, listed, loss_text, number, percent_text, with_error


@dataclass(frozen=True)
class Told:
    """What a result says: in one sentence for the start of the report, and in tables or sentences of its own."""

    glance: str
    blocks: tuple[Block, ...] = ()


def _splits(result: xr.Dataset) -> dict[str, xr.Dataset]:
    return {str(name): result.sel(split=name) for name in result.split.values}


def _rows(label: str, caption: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    """A table whose first column names and whose others are numbers."""
    cells = tuple((Cell(first), *(Cell(text) for text in rest)) for first, *rest in rows)
    return Table(f"{label}-numbers", (caption,), headings, (False, *[True] * (len(headings) - 1)), cells)


def _tell_interpolation(result: xr.Dataset, name: str) -> Told:
    rows, bumps = [], {}
    for split, part in _splits(result).items():
        loss = part.loss.values
        # The largest rise from any point to a later one; 0 for a path that only descends.
        bumps[split] = float(np.max(loss - np.minimum.accumulate(loss)))
        rows.append((split, loss_text(loss[0]), loss_text(loss[-1]), loss_text(loss.max()), loss_text(bumps[split])))
    headings = ("Data", "Start", "End", "Maximum", "Largest rise")
    first, bump = next(iter(bumps.items()))
    words = "descends all the way" if bump <= 0 else f"rises by up to {loss_text(bump)} on the way"
    return Told(
        f"The {first} loss on the straight line from the initial to the final weights {words}.",
        (_rows(name, "Loss on the line.", headings, rows),),
    )


def _tell_line(result: xr.Dataset, name: str) -> Told:
    rows, said = [], []
    radius = float(result.alpha.values[-1])
    for split, part in _splits(result).items():
        middle = float(part.loss.sel(alpha=0, method="nearest").values.flat[0])
        rise = part.loss.isel(alpha=[0, -1]).mean("alpha").values.ravel() - middle  # (draw,)
        median, least, most = (loss_text(float(value)) for value in (np.median(rise), rise.min(), rise.max()))
        rows.append((split, loss_text(middle), median, least, most))
        said.append(f"the {split} loss rises by {median} (median; {least} to {most})")
    headings = ("Data", "Loss at the centre", "Median rise", "Smallest rise", "Largest rise")
    table = _rows(name, "Rise of the loss at the ends of the lines, mean of both ends.", headings, rows)
    drawn = counted(result.sizes.get("draw", 1), "random direction")
    return Told(f"Along {drawn} {said[0]} at α = ±{radius:g}.", (table,))


def _tell_plane(result: xr.Dataset, name: str) -> Told:
    rows, said = [], []
    for split, part in _splits(result).items():
        loss = part.loss.transpose("alpha", "beta")
        middle = float(loss.sel(alpha=0, beta=0, method="nearest"))
        finite = np.isfinite(loss.values)
        if not finite.any():
            rows.append((split, loss_text(middle), MISSING, MISSING, MISSING, MISSING, percent_text(1.0)))
            said.append(f"no point has a finite {split} loss")
            continue
        i, j = np.unravel_index(np.where(finite, loss.values, np.inf).argmin(), loss.shape)
        lowest, highest = float(loss.values[i, j]), float(loss.values[finite].max())
        place = f"({part.alpha.values[i]:.3g}, {part.beta.values[j]:.3g})"
        share = percent_text(1 - finite.mean())
        error = loss_text(float(part.loss_error))
        rows.append((split, loss_text(middle), loss_text(lowest), place, loss_text(highest), error, share))
        known = bool(part.measured.transpose("alpha", "beta").values[i, j])
        below = loss_text(middle - lowest) + ("" if known else f" (± {error})")
        said.append(
            f"the lowest {split} loss of the grid is {below} below the model's, at {place}"
            if lowest < middle
            else f"no point of the grid has a lower {split} loss than the model"
        )
    headings = ("Data", "Loss at (0, 0)", "Lowest", "at (α, β)", "Highest", "Largest error", "Not finite")
    nodes, every = int(result.measured.sum()), result.measured.size
    caption = (
        "Loss on the grid, every node measured."
        if nodes == every
        else f"Loss on the grid: {nodes:,} of {every:,} nodes measured, the others filled by splines. Largest error: "
        "what to expect at those."
    )
    return Told(f"{TITLES[name]}, {said[0]}.", (_rows(name, caption, headings, rows),))


def _tell_trajectory(result: xr.Dataset, name: str) -> Told:
    shares = result.explained_variance.values
    off = float(result.off_plane.values[:-1].max())
    gap = float(np.abs(result.path_loss - result.path_plane_loss).max())
    words = (
        f"The plane of the training path holds {percent_text(float(shares.sum()))} of its variance; the checkpoint "
        f"farthest from it lies off it by {percent_text(off)} of its distance from the end, and losses of checkpoints "
        f"and of their projections differ by up to {loss_text(gap)}."
    )
    plane = _tell_plane(result, name)
    return Told(words, (Paragraph((words,)), *plane.blocks))


def _tell_connectivity(result: xr.Dataset, name: str) -> Told:
    rows = [
        (split, *(loss_text(float(part[what])) for what in ("barrier", "barrier_resolution", "excess")))
        for split, part in _splits(result).items()
    ]
    headings = ("Data", "Barrier", "Resolution", "Above the line between the ends")
    other = name.removeprefix("connectivity_")
    words = f"The straight path to {other} has a barrier of {listed([f'{row[1]} ({row[0]})' for row in rows])}."
    return Told(words, (_rows(name, f"Path to {other}. Resolution: what the last refinement added.", headings, rows),))


def _tell_models(result: xr.Dataset, name: str) -> Told:
    part = next(iter(_splits(result).values()))
    split = str(result.split.values[0])
    rows = [
        (str(model), number(alpha), number(beta), loss_text(own), loss_text(projected), percent_text(off))
        for model, alpha, beta, own, projected, off in zip(
            part.model.values,
            *(part[f"model_{what}"].values for what in ("alpha", "beta", "loss", "plane_loss", "off_plane")),
            strict=True,
        )
    ]
    headings = ("Model", "α", "β", f"Its {split} loss", "Loss of its projection", "Off the plane")
    return Told("", (_rows(name, "Where the solutions lie; off the plane: relative.", headings, rows),))


def _tell_spectrum(result: xr.Dataset, name: str) -> Told:
    rows, said = [], []
    for split, part in _splits(result).items():
        top = float(part.eigenvalues[0])
        rows += [
            (f"{split}, {int(rank)}", number(float(value), 4), number(float(residual), 2))
            for rank, value, residual in zip(
                part.eigenvalue.values, part.eigenvalues.values, part.residuals.values, strict=True
            )
        ]
        rows.append((f"{split}, smallest", number(float(part.smallest), 4), number(float(part.smallest_residual), 2)))
        ends = "" if bool(part.converged) else " (not all converged: see the residuals)"
        said.append(
            f"{split}: largest eigenvalue {number(top, 4)}, smallest {number(float(part.smallest), 3)}, trace "
            f"{with_error(float(part.trace), float(part.trace_error))} (standard error){ends}"
        )
    table = _rows(name, "Eigenvalues and residuals ‖Hv − λv‖.", ("Rank", "λ", "Residual"), rows)
    return Told(f"Hessian. {'; '.join(said)}.", (Items(tuple((line + ".",) for line in said)), table))


def _tell_density(result: xr.Dataset, name: str) -> Told:
    said = []
    for split, part in _splits(result).items():
        share, error = percent_text(float(part.negative)), percent_text(float(part.negative_error))
        mean = with_error(float(part["mean"]), float(part.mean_error))
        said.append(
            f"{split}: {share} of the eigenvalues lie below −1/1000 of the largest (standard error {error}); "
            f"their mean is {mean}"
        )
    return Told("", (Items(tuple((line + ".",) for line in said)),))


def _tell_blocks(result: xr.Dataset, name: str) -> Told:
    part = next(iter(_splits(result).values()))
    split = str(result.split.values[0])
    traces = part.trace.values
    rows = [
        (str(block), f"{int(size):,}", number(float(top), 4), with_error(float(trace), float(error)))
        for block, size, top, trace, error in zip(
            part.block.values, part.parameters.values, part.eigenvalues.isel(eigenvalue=0).values, traces,
            part.trace_error.values, strict=True,
        )
    ]  # fmt: skip
    heaviest = int(np.nanargmax(traces))
    words = (
        f"Of the {split} trace, {percent_text(float(traces[heaviest] / np.nansum(traces)))} sits in the layer "
        f"{part.block.values[heaviest]}."
    )
    table = _rows(name, f"By layer, {split} data.", ("Layer", "Parameters", "Largest λ", "Trace"), rows)
    return Told(words, (Paragraph((words,)), table))


def _tell_eigenvectors(result: xr.Dataset, name: str) -> Told:
    part = next(iter(_splits(result).values()))
    gap = np.abs(part.loss - part.quadratic)
    rise = float(np.abs(part.quadratic - part.quadratic.sel(alpha=0, beta=0, method="nearest")).max())
    words = (
        f"On the plane of two eigenvectors the quadratic model is off by {loss_text(float(gap.max()))} at most; it "
        f"predicts changes of up to {loss_text(rise)}."
    )
    return Told(words, (Paragraph((words,)),))


def _tell_sharpness(result: xr.Dataset, name: str) -> Told:
    radius, draws = result.attrs["radius"], result.sizes["sample"]
    rows = [
        (split, loss_text(float(part.maximum)), with_error(float(part.mean_increase), float(part.mean_increase_error)))
        for split, part in _splits(result).items()
    ]
    words = (
        f"Moving every tensor by {percent_text(radius)} of its norm at random raises the {rows[0][0]} loss by "
        f"{rows[0][2]} on average (standard error), by {rows[0][1]} at most in {draws} draws."
    )
    return Told(words, (_rows(name, "Increase of the loss.", ("Data", "Largest", "Mean"), rows),))


TELL: dict[str, Callable[[xr.Dataset, str], Told]] = {
    "interpolation": _tell_interpolation,
    "random_line": _tell_line,
    "random_plane": _tell_plane,
    "trajectory_plane": _tell_trajectory,
    "connectivity": _tell_connectivity,
    "model_plane": _tell_models,
    "spectrum": _tell_spectrum,
    "density": _tell_density,
    "blocks": _tell_blocks,
    "eigenvector_plane": _tell_eigenvectors,
    "sharpness": _tell_sharpness,
}
