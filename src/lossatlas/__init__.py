"""lossatlas: measure, draw and compare the loss landscapes of neural networks."""

from lossatlas.loss import Loss, accuracy
from lossatlas.parameters import Layout
from lossatlas.probes.connectivity import linear_connectivity
from lossatlas.probes.density import spectral_density
from lossatlas.probes.interpolation import interpolate
from lossatlas.probes.regularization import interpolate_by_weight_decay, slice_by_weight_decay
from lossatlas.probes.sharpness import epsilon_sharpness
from lossatlas.probes.slices import random_line, random_plane
from lossatlas.probes.spectrum import spectrum
from lossatlas.probes.trajectory_plane import trajectory_plane

__all__ = [
    "Layout",
    "Loss",
    "accuracy",
    "epsilon_sharpness",
    "interpolate",
    "interpolate_by_weight_decay",
    "linear_connectivity",
    "random_line",
    "random_plane",
    "slice_by_weight_decay",
    "spectral_density",
    "spectrum",
    "trajectory_plane",
]
