"""Results with known values, in the shape that the probes give them; the grids are not square."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from lossatlas.figures import relief, surfaces
from lossatlas.figures.scale import Scale

SPLITS = ["train", "test"]
DECAYS = [0.0, 1e-4, 0.0005]
ALPHA, BETA = np.linspace(0, 1, 11), np.linspace(-2, 2, 7)


class Faces(Poly3DCollection):
    """Faces that keep the corners they were made of, which matplotlib has under changing private names."""

    def __init__(self, verts: np.ndarray, **options):
        super().__init__(verts, **options)
        self.corners = np.asarray(verts).reshape(-1, 3)


@pytest.fixture(autouse=True)
def _corners_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "Poly3DCollection", Faces)


def png(figure: Figure) -> bytes:
    """The bytes that the study would write."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=60, format="png", metadata={"Software": None})
    return buffer.getvalue()


@pytest.fixture
def unshaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps whose colours are those of the bar, so that heights can be read from them."""
    monkeypatch.setattr(relief, "SHADE", 0.0)


def heights(ax, scale: Scale) -> np.ndarray:
    """The heights that an unshaded map shows, by its pixels from the lowest β up; NaN where the background shows."""
    (image,) = ax.images
    pixels = np.asarray(image.get_array())
    table = np.round(255 * relief.COLORMAP(np.linspace(0, 1, 256))[:, :3])
    nearest = np.abs(pixels[..., None, :3].astype(float) - table).sum(-1).argmin(-1)
    shown = scale.low + (nearest + 0.5) / 256 * (scale.high - scale.low)
    return np.where(pixels[..., 3] > 0, shown, np.nan)


def height_at(ax, scale: Scale, x: float, y: float) -> float:
    left, right, bottom, top = ax.images[0].get_extent()
    shown = heights(ax, scale)
    row, column = (y - bottom) / (top - bottom) * len(shown), (x - left) / (right - left) * shown.shape[1]
    return float(shown[min(int(row), len(shown) - 1), min(int(column), shown.shape[1] - 1)])


def drawn_lines(ax) -> list:
    """Lines that are there, without those that only stand in the legend."""
    return [line for line in ax.lines if len(line.get_data(orig=False)[0])]


def curve(low: float = 0.0, steps: int = 11) -> xr.Dataset:
    alpha = np.linspace(low, 1, steps)
    loss = np.stack([0.5 + alpha**2, 0.7 + alpha**2 / 2])
    return xr.Dataset(
        {
            "loss": (("split", "alpha"), loss, {"long_name": "loss", "units": "criterion"}),
            "accuracy": (("split", "alpha"), 1 - loss / 2, {"long_name": "accuracy", "units": "1"}),
        },
        {"split": SPLITS, "alpha": ("alpha", alpha, {"long_name": "position α", "units": "1"})},
    )


def along_random_directions(result: xr.Dataset) -> xr.Dataset:
    return result.assign_attrs(normalize="filter", biases="zero")


def surface() -> xr.Dataset:
    alpha, beta = np.linspace(-1, 1, 9), np.linspace(-2, 2, 7)
    bowl = 1 + alpha[:, None] ** 2 + 0.25 * beta[None, :] ** 2 + 0.1 * alpha[:, None]
    loss = np.stack([bowl, 1.5 * bowl])
    return xr.Dataset(
        {
            "loss": (("split", "alpha", "beta"), loss, {"long_name": "loss", "units": "criterion"}),
            "accuracy": (("split", "alpha", "beta"), 1 / loss, {"long_name": "accuracy", "units": "1"}),
        },
        {"split": SPLITS, "alpha": alpha, "beta": beta},
    )


@pytest.fixture
def line() -> xr.Dataset:
    return along_random_directions(curve(-1.0))


@pytest.fixture
def segment() -> xr.Dataset:
    return curve()


@pytest.fixture
def path() -> xr.Dataset:
    result = curve(steps=13)
    return result.assign(barrier=("split", [0.123456, 0.0]), excess=("split", [0.2, 0.1]))


@pytest.fixture
def plane() -> xr.Dataset:
    return along_random_directions(surface())


@pytest.fixture
def trajectory() -> xr.Dataset:
    alpha, beta = np.array([0.8, 0.5, 0.2, 0.0]), np.array([1.5, -0.5, -1.0, 0.0])
    height = 1 + alpha**2 + 0.25 * beta**2 + 0.1 * alpha
    return surface().assign(
        path_alpha=("checkpoint", alpha),
        path_beta=("checkpoint", beta),
        path_loss=(("split", "checkpoint"), np.stack([height, 1.5 * height]) + 0.1),
        path_plane_loss=(("split", "checkpoint"), np.stack([height, 1.5 * height])),
        off_plane=("checkpoint", np.zeros(4)),
        explained_variance=("component", [0.8612, 0.0934]),
    )


@pytest.fixture
def draws() -> xr.Dataset:
    """Twelve parabolas of unlike width around the same centre."""
    alpha, width = np.linspace(-1, 1, 11), np.arange(1.0, 13.0)
    loss = np.stack([level + alpha[:, None] ** 2 * width for level in (0.5, 0.7)])
    dims = ("split", "alpha", "draw")
    return along_random_directions(
        xr.Dataset(
            {
                "loss": (dims, loss, {"long_name": "loss", "units": "criterion"}),
                "accuracy": (dims, 1 / (1 + loss), {"long_name": "accuracy", "units": "1"}),
            },
            {"split": SPLITS, "alpha": ("alpha", alpha, {"long_name": "position α", "units": "1"})},
        )
    )


@pytest.fixture
def models() -> xr.Dataset:
    """Three models and two trajectories of unlike length."""
    places = {
        "model": np.array([[-0.5, -1.0], [0.6, -1.0], [0.1, 1.2]]),
        "path": np.array([[0.8, 1.5], [0.5, 1.3], [0.1, 1.2], [0.8, 1.5], [-0.5, -1.0]]),
    }
    height = {kind: 1 + (at**2) @ [1, 0.25] + 0.1 * at[:, 0] for kind, at in places.items()}
    values = {}
    for kind, dim in (("model", "model"), ("path", "point")):
        values[f"{kind}_alpha"], values[f"{kind}_beta"] = ((dim, at) for at in places[kind].T)
        on_plane = np.stack([height[kind], 1.5 * height[kind]])
        values[f"{kind}_loss"] = (("split", dim), on_plane + 0.1)
        values[f"{kind}_plane_loss"] = (("split", dim), on_plane)
        values[f"{kind}_off_plane"] = (dim, np.zeros(len(height[kind])))
    coordinates = {
        "model": ["A", "B", "C"],
        "trajectory": ("point", ["sgd"] * 3 + ["adam"] * 2),
        "checkpoint": ("point", [0, 1, 2, 0, 1]),
    }
    return surface().assign(values).assign(explained_variance=("component", [0.75, 0.25])).assign_coords(coordinates)


@pytest.fixture
def eigenplane() -> xr.Dataset:
    """A surface whose quadratic model lacks the linear term of the first axis."""
    plane = surface()
    return plane.assign(
        quadratic=plane.loss - xr.DataArray([0.1, 0.15], dims="split") * plane.alpha,
        eigenvalues=("direction", [2.0, 0.5]),
        residuals=("direction", [1e-4, 1e-4]),
        slope=(("split", "direction"), np.zeros((2, 2))),
        curvature=(("split", "direction"), np.array([[2.0, 0.5], [3.0, 0.75]])),
        products=20,
        converged=True,
    ).assign_coords(direction=["largest", "second"])


@pytest.fixture
def eigenvalues() -> xr.Dataset:
    return xr.Dataset(
        {
            "eigenvalues": (("split", "eigenvalue"), np.array([[5.0, 2.0, 1.0, 0.5], [6.0, 3.0, 0.7, -0.2]])),
            "residuals": (("split", "eigenvalue"), np.array([[0.1, 0.2, 0.3, 0.4], [0.01, 0.02, 0.03, 0.04]])),
            "smallest": ("split", [-0.51234, -0.25]),
            "smallest_residual": ("split", [0.0, 0.0]),
            "trace": ("split", [12.3456, -3.0]),
            "trace_error": ("split", [0.4567, 0.2]),
            "products": ("split", [50, 50]),
            "converged": ("split", [True, False]),
        },
        {"split": SPLITS, "eigenvalue": [1, 2, 3, 4]},
    )


@pytest.fixture
def densities() -> xr.Dataset:
    """Two Gaussians, around -0.01 and 1, on an axis of asinh."""
    axis = np.stack([np.linspace(-4, 4.5, 200)] * 2)
    density = np.exp(-20 * (axis + 2) ** 2) + 1e-3 * np.exp(-20 * (axis - 4) ** 2)
    return xr.Dataset(
        {
            "position": (("split", "grid"), 2e-4 * np.sinh(axis * np.log(10))),
            "density": (("split", "grid"), density),
            "density_error": (("split", "grid"), 0.3 * density),
            "negative": ("split", [0.25, 0.5]),
            "negative_error": ("split", [0.012, 0.034]),
        },
        {"split": SPLITS},
        {"scale": "log"},
    )


@pytest.fixture
def increases() -> xr.Dataset:
    even = np.stack([np.linspace(-0.1, 0.4, 50), np.linspace(0, 0.7, 50)])
    odd = even[::-1] / 2
    over = ("split", "radius")
    return xr.Dataset(
        {
            "even": (("split", "sample"), even),
            "odd": (("split", "sample"), odd),
            "maximum": ("split", (even + abs(odd)).max(1)),
            "mean_even": (over, [[0.04, 0.15], [0.09, 0.35]]),
            "mean_even_error": (over, [[0.01, 0.02], [0.01, 0.03]]),
            "odd_size": (over, [[0.1, 0.2], [0.05, 0.1]]),
        },
        {"split": SPLITS, "radius": [0.025, 0.05]},
        {"radius": 0.05, "samples": 50},
    )


def blocks(count: int, scale: float = 1.0) -> xr.Dataset:
    """`count` blocks whose largest eigenvalues go from 1 to `scale`, the last of one parameter only."""
    top = np.geomspace(1, scale, count) * np.array([[1.0], [1.5]])  # (split, block)
    eigenvalues = np.stack([top, top / 2, top / 4], axis=-1)
    eigenvalues[:, -1, 1:] = np.nan
    converged = np.ones((2, count), dtype=bool)
    converged[0, 1] = False
    names = [f"encoder.layers.{index}.self_attention.output_projection" for index in range(count)]
    return xr.Dataset(
        {
            "eigenvalues": (("split", "block", "eigenvalue"), eigenvalues),
            "residuals": (("split", "block", "eigenvalue"), 0 * eigenvalues),
            "smallest": (("split", "block"), -top / 3),
            "smallest_residual": (("split", "block"), 0 * top),
            "trace": (("split", "block"), 2 * top - 1),
            "trace_error": (("split", "block"), 0.1 * top),
            "converged": (("split", "block"), converged),
        },
        {
            "split": SPLITS,
            "block": names,
            "eigenvalue": [1, 2, 3],
            "parameters": ("block", np.arange(count) + 1234),
        },
    )


@pytest.fixture
def layers() -> xr.Dataset:
    return blocks(5, 3e-4)


def measured(loss: np.ndarray, dims: tuple[str, ...], coords: dict) -> xr.Dataset:
    attrs = {"long_name": "loss", "units": "criterion"}
    return xr.Dataset(
        {
            "loss": (("split", "weight_decay", *dims), loss, attrs),
            "accuracy": (("split", "weight_decay", *dims), 1 / (1 + loss), {"long_name": "accuracy", "units": "1"}),
            "penalty": (("weight_decay", *dims), 1000 + loss[0], {"long_name": "penalty", "units": "criterion"}),
        },
        {"split": SPLITS, "weight_decay": DECAYS, **coords},
    )


@pytest.fixture
def family_of_lines() -> xr.Dataset:
    falling = 1.5 - ALPHA**2 + 0.2 * np.arange(3)[:, None]
    return measured(np.stack([falling, 1.25 * falling]), ("alpha",), {"alpha": ALPHA})


@pytest.fixture
def family_of_planes() -> xr.Dataset:
    axis = np.linspace(-1, 1, 9)
    bowl = (1 + np.arange(3))[:, None, None] * (1 + axis[:, None] ** 2 + 0.25 * BETA**2)
    result = measured(np.stack([bowl, 7 * bowl]), ("alpha", "beta"), {"alpha": axis, "beta": BETA})
    return result.assign(relative_length=("weight_decay", [1.0, 1.25, 3.5]))
