"""Results for other programs: ParaView (.vti, .vtp), 3-D tools (.obj), 3-D printers (.stl), NumPy (.npz).

The formats are written here: as simple as they are for one surface they take fewer lines than a mesh library takes
megabytes (vtk, and pyvista with it, over 500), and holes and the order of axes stay in our hands.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import xarray as xr

from lossatlas.files import write_bytes

PRINTED = 100.0  # millimetres, which printers take an STL's numbers for, along the longer side
BASE = 0.05  # thickness of a printed surface at its lowest point, of the longer side


def export(
    result: xr.Dataset,
    path: str | Path,
    *,
    variable: str = "loss",
    split: str | None = None,
    log: bool = False,
    height: float | None = 0.5,
) -> None:
    """Write one split of a result in the format that the ending of `path` names.

    - `.vti` (ParaView): a flat image of `variable` on an even grid.
    - `.vtp` (ParaView): a surface of quadrilaterals whose height is `variable`, with its values at the points.
    - `.obj` (Blender and other tools): the same surface, without values.
    - `.stl` (3-D printers): the same surface as the top of a closed solid, 100 mm along its longer side.
    - `.npz` (NumPy): `variable` as it is with its axes by name; for curves, too.

    α is x and β is y, as in the figures. Both VTK formats hold the other quantities of the same grid as well. Values
    that are not finite are NaN in `.vti` and `.npz`, and a surface has a hole where a corner of a cell is.

    Args:
        result: of a probe.
        path: of the file, ending in .vti, .vtp, .obj, .stl or .npz.
        variable: what the height is.
        split: by default the first one.
        log: take log10 of it; what is not above zero is then not finite.
        height: what the range of heights is made, relative to the longer side of the plane; None: heights are the
            values themselves. Not for `.vti` and `.npz`.

    Raises:
        ValueError: another ending, a result that is no plane (or curve), or one without a cell to draw.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (*WRITERS, ".npz"):
        raise ValueError(f"{path.name} ends in {path.suffix!r}: wanted one of {', '.join([*WRITERS, '.npz'])}")
    chosen = _one_split(result, split)
    if variable not in chosen.data_vars:
        raise ValueError(f"the result has no {variable!r}: choose from {', '.join(map(str, chosen.data_vars))}")
    write_bytes(
        path,
        _npz(chosen[variable], log) if ending == ".npz" else WRITERS[ending](Plane.of(chosen, variable, log), height),
    )


@dataclass(frozen=True)
class Plane:
    """What lies on a plane: heights of one quantity, and all quantities by name. Made with `of`.

    Args:
        name: of the quantity.
        alpha: `(n,)`, increasing.
        beta: `(m,)`, increasing.
        heights: `(n, m)`, of the quantity.
        quantities: `(n, m)` each, by name; the quantity is among them.
    """

    name: str
    alpha: np.ndarray
    beta: np.ndarray
    heights: np.ndarray
    quantities: dict[str, np.ndarray]

    @classmethod
    def of(cls, result: xr.Dataset, variable: str, log: bool) -> Plane:
        """The plane of one split of a result.

        Args:
            result: without a dimension `split`.
            variable: what the height is.
            log: take log10 of it.

        Raises:
            ValueError: the variable is no plane, or an axis does not increase.
        """
        values = result[variable]
        if set(values.dims) != {"alpha", "beta"}:
            raise ValueError(
                f"{variable} has the dimensions {values.dims}: wanted a plane over alpha and beta; curves go to .npz, "
                "and of any other dimension choose one value with result.sel(...)"
            )
        axes = {axis: result[axis].values.astype(float) for axis in ("alpha", "beta")}
        for axis, places in axes.items():
            if len(places) < 2 or not (np.diff(places) > 0).all():
                raise ValueError(f"{axis} does not increase from point to point: the plane has no extent along it")
        quantities = {
            str(name): other.transpose("alpha", "beta").values.astype(float)
            for name, other in result.data_vars.items()
            if set(other.dims) == {"alpha", "beta"}
        }
        heights, name = quantities[variable], variable
        if log:
            heights, name = _log10(heights), f"log10 {variable}"
        return cls(name, **axes, heights=heights, quantities={name: heights, **quantities})

    @property
    def side(self) -> float:
        """The length of the longer side."""
        return float(max(np.ptp(self.alpha), np.ptp(self.beta)))

    def corners(self) -> np.ndarray:
        """Indices into the flat grid of every cell that has no hole, `(cells, 4)`, anticlockwise from above."""
        index = np.arange(self.heights.size).reshape(self.heights.shape)
        cells = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
        cells = cells[np.isfinite(self.heights.ravel()[cells]).all(axis=1)]
        if not len(cells):
            raise ValueError(f"{self.name} is finite at all four corners of no cell: there is no surface")
        return cells

    def surface(self, height: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points `(n, 3)`, the cells between them `(cells, 4)`, and where they are in the flat grid `(n,)`.

        `height` is what the range of heights is made, relative to the longer side; None: the values themselves.
        """
        cells = self.corners()
        used, renumbered = np.unique(cells, return_inverse=True)
        z = self.heights.ravel()[used]
        if height is not None:
            z = (z - z.min()) * (height * self.side / (np.ptp(z) or 1.0))
        x, y = (axis.ravel()[used] for axis in np.meshgrid(self.alpha, self.beta, indexing="ij"))
        return np.stack([x, y, z], axis=1), renumbered.reshape(cells.shape), used


def _vti(plane: Plane, height: float | None) -> bytes:
    steps = {name: np.diff(getattr(plane, name)) for name in ("alpha", "beta")}
    for name, step in steps.items():
        if np.ptp(step) > 1e-6 * step.mean():
            raise ValueError(f"{name} is not evenly spaced, as .vti wants it: write .vtp")
    extent = f"0 {len(plane.alpha) - 1} 0 {len(plane.beta) - 1} 0 0"
    head = (
        f'WholeExtent="{extent}" Origin="{plane.alpha[0]!s} {plane.beta[0]!s} 0" '
        f'Spacing="{steps["alpha"].mean()!s} {steps["beta"].mean()!s} 1"'
    )
    arrays = (_data(name, values.T.ravel()) for name, values in plane.quantities.items())  # in VTK x runs fastest
    piece = f'<Piece Extent="{extent}">\n{_point_data(plane, arrays)}</Piece>'
    return _vtk("ImageData", head, piece)


def _vtp(plane: Plane, height: float | None) -> bytes:
    points, cells, used = plane.surface(height)
    arrays = (_data(name, values.ravel()[used]) for name, values in plane.quantities.items())
    piece = (
        f'<Piece NumberOfPoints="{len(points)}" NumberOfPolys="{len(cells)}">\n{_point_data(plane, arrays)}'
        f"<Points>\n{_data('points', points)}</Points>\n"
        f"<Polys>\n{_data('connectivity', cells)}{_data('offsets', 4 * np.arange(1, len(cells) + 1))}</Polys>\n</Piece>"
    )
    return _vtk("PolyData", "", piece)


def _vtk(kind: str, head: str, piece: str) -> bytes:
    text = (
        f'<?xml version="1.0"?>\n<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n'
        f"<{kind} {head}>\n{piece}\n</{kind}>\n</VTKFile>\n"
    )
    return text.encode()


def _point_data(plane: Plane, arrays: Iterable[str]) -> str:
    return f"<PointData Scalars={quoteattr(plane.name)}>\n{''.join(arrays)}</PointData>\n"


def _data(name: str, values: np.ndarray) -> str:
    """An array in base64 behind its length in bytes: exact, with NaN, which not every VTK reads from text."""
    kind, dtype = ("Float64", "<f8") if values.dtype.kind == "f" else ("Int64", "<i8")
    data = values.astype(dtype).tobytes()
    coded = base64.b64encode(np.uint64(len(data)).astype("<u8").tobytes() + data).decode()
    components = f' NumberOfComponents="{values.shape[1]}"' if kind == "Float64" and values.ndim == 2 else ""
    return f'<DataArray type="{kind}" Name={quoteattr(name)}{components} format="binary">{coded}</DataArray>\n'


def _obj(plane: Plane, height: float | None) -> bytes:
    points, cells, _ = plane.surface(height)
    lines = [
        f"# {plane.name} over alpha (x) and beta (y)",
        *(f"v {x!s} {y!s} {z!s}" for x, y, z in points),
        *("f " + " ".join(map(str, cell)) for cell in cells + 1),
    ]
    return ("\n".join(lines) + "\n").encode()


def _stl(plane: Plane, height: float | None) -> bytes:
    """Binary STL of a closed solid: the surface, a flat bottom, and a wall at every edge that only one cell has."""
    points, cells, _ = plane.surface(height)
    points = (points - points.min(axis=0)) * (PRINTED / plane.side)
    top = points + np.array([0, 0, BASE * PRINTED])
    bottom = points * np.array([1, 1, 0])
    edges = np.concatenate([cells[:, [i, (i + 1) % 4]] for i in range(4)])  # (4 cells, 2)
    both_ways = set(map(tuple, edges[:, ::-1].tolist()))
    a, b = np.array([edge for edge in edges.tolist() if tuple(edge) not in both_ways]).T
    faces = np.concatenate(
        [
            top[cells],
            bottom[cells[:, ::-1]],
            np.stack([bottom[a], bottom[b], top[b], top[a]], axis=1),
        ]
    )  # (faces, 4, 3), anticlockwise from outside
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    records = np.zeros(len(triangles), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    records["corners"] = triangles
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    records["normal"] = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return plane.name.encode()[:80].ljust(80) + np.uint32(len(records)).astype("<u4").tobytes() + records.tobytes()


WRITERS: dict[str, Callable[[Plane, float | None], bytes]] = {
    ".vti": _vti,
    ".vtp": _vtp,
    ".obj": _obj,
    ".stl": _stl,
}


def _npz(values: xr.DataArray, log: bool) -> bytes:
    if "alpha" not in values.dims:
        raise ValueError(f"{values.name} has the dimensions {values.dims}: wanted a curve over alpha, or a plane")
    arrays: dict[str, Any] = {str(dim): values[dim].values for dim in values.dims}
    arrays[f"log10 {values.name}" if log else str(values.name)] = _log10(values.values) if log else values.values
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _one_split(result: xr.Dataset, split: str | None) -> xr.Dataset:
    if "split" not in result.dims:
        if split is not None:
            raise ValueError(f"split is {split!r}, but the result is of one loss without splits: leave it out")
        return result
    names = [str(name) for name in result.split.values]
    if split is not None and split not in names:
        raise ValueError(f"split is {split!r}: choose from {', '.join(names)}")
    return result.sel(split=split or names[0])


def _log10(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(values)
    return np.where(np.isfinite(logs), logs, np.nan)
