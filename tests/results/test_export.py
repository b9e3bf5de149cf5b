"""Exported files, read back by parsers of their formats that know nothing of the writers.

ParaView's own library, meshio and trimesh read files of this kind with the same points, values and cells, and found the
solids closed (vtk 9.7, meshio 5.3, trimesh 5.2; by hand, they are too heavy for this suite).
"""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import xarray as xr

from lossatlas import interpolate, random_line, random_plane, spectrum
from lossatlas.loss import toys
from lossatlas.results.export import export

ALPHA, BETA = np.linspace(-1, 1, 5), np.linspace(0, 6, 4)  # neither square nor symmetric


def height(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return 2 + alpha + beta / 2


def plane(values: np.ndarray | None = None) -> xr.Dataset:
    loss = height(ALPHA[:, None], BETA) if values is None else values
    return xr.Dataset(
        {
            "loss": (("split", "alpha", "beta"), np.stack([loss, 10 * loss])),
            "accuracy": (("split", "beta", "alpha"), np.stack([loss.T / 100, loss.T / 200])),
            "path_alpha": ("checkpoint", np.zeros(3)),
        },
        {"split": ["train", "test"], "alpha": ALPHA, "beta": BETA},
    )


def holed() -> np.ndarray:
    """NaN at an inner point and infinity in a corner: 4 + 1 of 12 cells are lost, and two holes meet in a point."""
    values = height(ALPHA[:, None], BETA)
    values[2, 1], values[4, 3] = np.nan, np.inf
    return values


def arrays(element: ElementTree.Element) -> dict[str, np.ndarray]:
    """The data arrays of a VTK file by name."""
    found = {}
    for array in element.iter("DataArray"):
        assert array.get("format") == "binary"
        data = base64.b64decode(array.text or "")
        assert int.from_bytes(data[:8], "little") == len(data) - 8
        values = np.frombuffer(data[8:], {"Float64": "<f8", "Int64": "<i8"}[array.attrib["type"]])
        found[array.attrib["Name"]] = values.reshape(-1, int(array.get("NumberOfComponents", 1))).squeeze()
    return found


def vtk(path: Path, kind: str) -> tuple[ElementTree.Element, dict[str, np.ndarray]]:
    root = ElementTree.parse(path).getroot()
    assert (root.tag, root.get("type"), root.get("header_type")) == ("VTKFile", kind, "UInt64")
    (data,) = root
    assert data.tag == kind
    return data, arrays(data)


def obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = [line.split() for line in path.read_text().splitlines()]
    points = np.array([list(map(float, words)) for kind, *words in lines if kind == "v"])
    cells = np.array([list(map(int, words)) for kind, *words in lines if kind == "f"]) - 1
    return points, cells


def stl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Normals `(n, 3)` and corners `(n, 3, 3)`."""
    data = path.read_bytes()
    count = int.from_bytes(data[80:84], "little")
    assert len(data) == 84 + 50 * count
    records = [np.frombuffer(data[at : at + 48], "<f4").reshape(4, 3) for at in range(84, len(data), 50)]
    faces = np.array(records, dtype=float)
    return faces[:, 0], faces[:, 1:]


@pytest.mark.parametrize("values", [None, holed()])
def test_an_image_has_every_value_at_its_place(tmp_path, values):
    """PITFALL: α and β exchanged on grids that are not square; NaN turned into numbers."""
    result = plane(values)
    export(result, tmp_path / "a.vti", split="test")
    image, found = vtk(tmp_path / "a.vti", "ImageData")
    origin, spacing = (list(map(float, image.attrib[name].split())) for name in ("Origin", "Spacing"))
    extent = list(map(int, image.attrib["WholeExtent"].split()))
    assert extent == [0, 4, 0, 3, 0, 0]
    assert image[0].get("Extent") == image.get("WholeExtent")
    assert image[0][0].get("Scalars") == "loss"
    assert set(found) == {"loss", "accuracy"}
    for i in range(5):
        for j in range(4):
            x, y = origin[0] + i * spacing[0], origin[1] + j * spacing[1]
            here = result.sel(split="test").sel(alpha=x, beta=y, method="nearest")
            assert (x, y) == pytest.approx((float(here.alpha), float(here.beta)))
            for name in ("loss", "accuracy"):  # VTK's point number: x fastest
                np.testing.assert_array_equal(found[name][i + 5 * j], here[name].values)


def test_a_surface_has_holes_where_nothing_is_finite(tmp_path):
    values = holed()
    export(plane(values), tmp_path / "a.vtp")
    export(plane(values), tmp_path / "a.obj")
    data, found = vtk(tmp_path / "a.vtp", "PolyData")
    cells = found["connectivity"].reshape(-1, 4)
    assert len(cells) == 7
    assert found["offsets"].tolist() == [4 * n for n in range(1, 8)]
    points = found["points"]
    assert {key: int(value) for key, value in data[0].attrib.items()} == {
        "NumberOfPoints": len(points),
        "NumberOfPolys": 7,
    }
    assert set(cells.ravel()) == set(range(len(points)))  # no point without a cell
    x, y, z = points.T
    np.testing.assert_allclose(found["loss"], height(x, y))
    np.testing.assert_allclose(found["accuracy"], height(x, y) / 100)
    np.testing.assert_allclose(z, (found["loss"] - found["loss"].min()) / np.ptp(found["loss"]) * 3)  # half of 6
    centres = points[cells].mean(axis=1)[:, :2]
    lost = [(-0.25, 1), (0.25, 1), (-0.25, 3), (0.25, 3), (0.75, 5)]
    assert not any(np.allclose(centre, hole) for centre in centres for hole in lost)

    same_points, same_cells = obj(tmp_path / "a.obj")
    np.testing.assert_array_equal(same_points, points)
    np.testing.assert_array_equal(same_cells, cells)


def test_cells_are_seen_from_above(tmp_path):
    export(plane(), tmp_path / "a.obj", height=None)
    points, cells = obj(tmp_path / "a.obj")
    assert len(cells) == 12
    np.testing.assert_allclose(points[:, 2], height(points[:, 0], points[:, 1]))  # height=None: the values themselves
    a, b, _, d = points[cells].transpose(1, 0, 2)
    normals = np.cross(b - a, d - a)
    normals /= normals[:, 2:]
    np.testing.assert_allclose(normals, np.tile([-1, -0.5, 1], (12, 1)))  # of z = 2 + x + y / 2


@pytest.mark.parametrize("values", [None, holed()])
def test_what_is_printed_is_a_closed_solid(tmp_path, values):
    export(plane(values), tmp_path / "a.stl")
    normals, faces = stl(tmp_path / "a.stl")
    np.testing.assert_allclose(faces.reshape(-1, 3).min(0), 0, atol=1e-4)
    np.testing.assert_allclose(faces.reshape(-1, 3)[:, :2].max(0), [100 * 2 / 6, 100], rtol=1e-5)
    edges: list[tuple] = []
    for corners in faces.round(3).tolist():
        a, b, c = map(tuple, corners)
        edges += [(a, b), (b, c), (c, a)]
    assert Counter((b, a) for a, b in edges) == Counter(edges)  # every edge as often in each direction
    first, second, third = faces.transpose(1, 0, 2)
    across = np.cross(second - first, third - first)
    np.testing.assert_allclose(normals, across / np.linalg.norm(across, axis=1, keepdims=True), atol=1e-4)

    volume = (first * np.cross(second, third)).sum() / 6  # divergence theorem
    base, scale = 5.0, 100 / 6
    loss = plane(values).loss[0].values
    cells = np.stack([loss[:-1, :-1], loss[1:, :-1], loss[1:, 1:], loss[:-1, 1:]])
    cells = cells[:, np.isfinite(cells).all(0)]  # a linear height: the mean of a cell is that of its corners
    top = (cells.mean(0) - cells.min()) / np.ptp(cells) * 50 + base
    assert volume == pytest.approx((top * (0.5 * scale) * (2 * scale)).sum(), rel=1e-5)


def test_log_heights(tmp_path):
    values = 10.0 ** height(ALPHA[:, None], BETA)
    values[0, 0] = 0.0
    export(plane(values), tmp_path / "a.vtp", log=True, height=None)
    found = vtk(tmp_path / "a.vtp", "PolyData")[1]
    assert set(found) == {"points", "connectivity", "offsets", "log10 loss", "loss", "accuracy"}
    assert len(found["connectivity"]) == 4 * 11
    x, y, z = found["points"].T
    np.testing.assert_allclose(z, height(x, y))
    np.testing.assert_allclose(found["log10 loss"], z)
    np.testing.assert_allclose(np.log10(found["loss"]), z)
    export(plane(values), tmp_path / "a.npz", log=True)
    with np.load(tmp_path / "a.npz") as file:
        assert np.isnan(file["log10 loss"][0, 0])
        np.testing.assert_allclose(file["log10 loss"].ravel()[1:], height(ALPHA[:, None], BETA).ravel()[1:])


def test_numpy_gets_planes_and_curves(tmp_path, loss, theta, generator):
    flat = random_plane({"train": loss, "test": loss}, theta, generator=generator, steps=3)
    line = interpolate(loss, theta, 2 * theta, steps=4)
    band = random_line(loss, theta, generator=generator, steps=3, draws=2)
    for result, variable in ((flat.sel(split="train"), "accuracy"), (line, "loss"), (band, "loss")):
        export(result, tmp_path / "a.npz", variable=variable)
        with np.load(tmp_path / "a.npz") as file:
            assert set(file) == {variable, *result[variable].dims}
            for name in file:
                np.testing.assert_array_equal(file[name], result[name].values)
    export(flat, tmp_path / "b.npz", split="test", variable="accuracy")
    with np.load(tmp_path / "b.npz") as file:
        np.testing.assert_array_equal(file["accuracy"], flat.accuracy.sel(split="test").values)


def test_a_flat_loss_is_a_flat_surface(tmp_path):
    export(plane(np.full((5, 4), 3.0)), tmp_path / "a.obj")
    points, cells = obj(tmp_path / "a.obj")
    assert len(cells) == 12
    assert (points[:, 2] == 0).all()


def test_what_cannot_be_exported(tmp_path, loss, theta, generator):
    curve = interpolate(loss, theta, 2 * theta, steps=3)
    ends = spectrum(toys.bowl(2), torch.zeros(2), k=1, samples=2, generator=generator)
    uneven = plane().assign_coords(beta=[0.0, 1.0, 3.0, 6.0])
    still = plane().assign_coords(beta=np.zeros(4))
    several = plane().expand_dims(weight_decay=[0.0, 0.1])
    cases = {
        "a.png": (plane(), {}, r"a.png ends in '.png': wanted one of .vti, .vtp, .obj, .stl, .npz"),
        "b.vtp": (curve, {}, r"dimensions \('alpha',\): wanted a plane .*; curves go to .npz"),
        "c.vti": (uneven, {}, "beta is not evenly spaced.* write .vtp"),
        "d.obj": (still, {}, "beta does not increase"),
        "e.stl": (several, {}, r"weight_decay.* choose one value with result.sel"),
        "f.npz": (ends, {"variable": "eigenvalues"}, r"dimensions \('eigenvalue',\): wanted a curve"),
        "g.npz": (ends, {}, r"no 'loss': choose from eigenvalues"),
        "h.vti": (plane(), {"split": "valid"}, "split is 'valid': choose from train, test"),
        "i.npz": (curve, {"split": "train"}, "one loss without splits"),
        "j.vtp": (plane(np.full((5, 4), np.nan)), {}, "finite at all four corners of no cell"),
    }
    for name, (result, knobs, words) in cases.items():
        with pytest.raises(ValueError, match=words):
            export(result, tmp_path / name, **knobs)
    assert not list(tmp_path.iterdir())
    export(uneven, tmp_path / "uneven.VTP")
    assert set(vtk(tmp_path / "uneven.VTP", "PolyData")[1]["points"][:, 1]) == {0.0, 1.0, 3.0, 6.0}
