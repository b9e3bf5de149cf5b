"""What each probe is called in a report, what it measures, and how it can mislead."""

from __future__ import annotations

TITLES = {
    "interpolation": "From the initial to the final weights",
    "random_line": "Along random directions",
    "random_plane": "Over a plane of random directions",
    "trajectory_plane": "Over the plane of the training path",
    "connectivity": "Between solutions",
    "model_plane": "Over the plane through the solutions",
    "spectrum": "Largest eigenvalues of the Hessian",
    "density": "All eigenvalues of the Hessian",
    "blocks": "Curvature by layer",
    "eigenvector_plane": "Over the plane of two eigenvectors",
    "sharpness": "Sharpness",
}

MEANING = {
    "interpolation": (
        "Loss on the straight line between the first checkpoint and the final weights (Goodfellow et al. 2015). "
        "Training did not go along this line: that it has no bump does not say that training met none."
    ),
    "random_line": (
        "Loss along several Gaussian directions, filter-normalised so that networks of different weight scales can "
        "be compared (Li et al. 2018). Among many dimensions a random direction is nearly orthogonal to the few "
        "steep ones, so a line shows something like the mean curvature. The spread over directions says how much of "
        "one picture is chance."
    ),
    "random_plane": (
        "Loss over two random filter-normalised directions, orthogonal to each other (Li et al. 2018). One draw of "
        "many: the lines above show how draws differ. A sharp valley can look like a bowl. The picture does not "
        "change when the layers of a ReLU network are scaled against each other as wholes, but does when single "
        "units are."
    ),
    "trajectory_plane": (
        "Loss over the two leading principal directions of the checkpoints about the final weights (Li et al. "
        "2018). Paths of almost any kind put most of their variance into two such directions, so a large share is "
        "no sign of a simple path. Where a checkpoint lies off the plane, the picture does not show its loss."
    ),
    "connectivity": (
        "Loss on the straight line to another solution. The barrier is the maximum on the path minus the larger end "
        "loss. Solutions with a barrier may be joined by a curved path (Garipov et al. 2018), or by a straight one "
        "once their neurons are put in the same order (Ainsworth et al. 2023)."
    ),
    "model_plane": (
        "Loss over the plane through this model and the other solutions: exact for three, the plane of best fit for "
        "more, on which they are projected. One scale for all, distances in the plane are distances between "
        "weights."
    ),
    "spectrum": (
        "Curvature at the solution itself: eigenvalues of the Hessian, largest first, by block Lanczos; residuals "
        "say how exact each is. Scaling the layers of a ReLU network against each other leaves its function and "
        "changes these numbers (Dinh et al. 2017): compare them between networks with care."
    ),
    "density": (
        "How all eigenvalues are distributed, by stochastic Lanczos quadrature, with the largest found one by one. "
        "Most lie near zero; what is nearer to it than a thousandth of the largest has no certain sign here."
    ),
    "blocks": (
        "The Hessian of the loss in the parameters of one layer at a time, the others held fixed: where curvature "
        "sits. The traces of the blocks add up to the whole trace; their largest eigenvalues are at most the whole "
        "one's."
    ),
    "eigenvector_plane": (
        "Loss over two eigenvectors of the Hessian, and what the quadratic model with that Hessian predicts there: "
        "where the two part, curvature at the point says nothing about the loss."
    ),
    "sharpness": (
        "Increase of the loss when every tensor is moved by a share of its own norm in a random direction. The "
        "largest of a sample is a lower bound of the worst case, and grows with the number of samples; it is not "
        "invariant to rescaling within a layer (Dinh et al. 2017)."
    ),
}
