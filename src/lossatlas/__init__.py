"""lossatlas: measure, draw and compare the loss landscapes of neural networks."""

from lossatlas.loss import Loss, accuracy
from lossatlas.parameters import Layout
from lossatlas.probes.connectivity import linear_connectivity
from lossatlas.probes.interpolation import interpolate
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
    "linear_connectivity",
    "random_line",
    "random_plane",
    "spectrum",
    "trajectory_plane",
]
