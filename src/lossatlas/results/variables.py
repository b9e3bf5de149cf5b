"""Names, meanings and units of the variables and coordinates of results."""

from __future__ import annotations

# Descriptions of every variable and coordinate that a probe may return. `invariant_to` says of a measure of curvature
# or sharpness which positive rescalings leave it as it is in a network of homogeneous activations such as ReLU (Dinh et
# al. 2017): those of whole layers against each other ("layer"), those of single units as well ("unit"), or "none".
UNITS: dict[str, dict[str, str]] = {
    "loss": {"long_name": "loss", "units": "criterion"},
    "accuracy": {"long_name": "accuracy", "units": "1"},
    "alpha": {"long_name": "position α", "units": "1"},
    "beta": {"long_name": "position β", "units": "1"},
    "path_alpha": {"long_name": "checkpoint's first coordinate", "units": "parameter"},
    "path_beta": {"long_name": "checkpoint's second coordinate", "units": "parameter"},
    "path_loss": {"long_name": "loss at the checkpoint itself", "units": "criterion"},
    "path_plane_loss": {"long_name": "loss at the checkpoint's projection on the plane", "units": "criterion"},
    "path_off_plane": {"long_name": "distance from the plane / distance from its origin", "units": "1"},
    "off_plane": {"long_name": "distance from the plane / distance from the final point", "units": "1"},
    "explained_variance": {"long_name": "share of variance", "units": "1"},
    "eigenvalues": {
        "long_name": "eigenvalues of the Hessian",
        "units": "criterion / parameter²",
        "invariant_to": "none",
    },
    "residuals": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "smallest": {
        "long_name": "smallest eigenvalue of the Hessian",
        "units": "criterion / parameter²",
        "invariant_to": "none",
    },
    "smallest_residual": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "trace": {"long_name": "trace of the Hessian", "units": "criterion / parameter²", "invariant_to": "none"},
    "trace_error": {"long_name": "standard error of the trace", "units": "criterion / parameter²"},
    "derivative_check": {"long_name": "deviation of derivatives from differences", "units": "1"},
    "derivative_check_error": {"long_name": "error of the differences themselves", "units": "1"},
    "gradient_norm": {"long_name": "norm of the gradient", "units": "criterion / parameter", "invariant_to": "none"},
    "gradient_norm_relative": {
        "long_name": "norm of the gradient / mean norm of the gradients of single examples",
        "units": "1",
        "invariant_to": "none",
    },
    "gradient_decrease": {
        "long_name": "‖∇L‖² / 2λ₁ / |L|, what a step along the steepest curvature promises of the loss",
        "units": "1",
        "invariant_to": "none",
    },
    "stationary": {"long_name": "whether the point is stationary", "units": "1"},
    "weight_decay": {"long_name": "weight decay λ", "units": "criterion / parameter²"},
    "measured": {"long_name": "whether the node was measured", "units": "1"},
    "sampled_examples": {"long_name": "examples at every node", "units": "1"},
    "pilot_examples": {"long_name": "examples at the pilot nodes", "units": "1"},
    "all_examples": {"long_name": "examples of the data", "units": "1"},
    "penalty": {"long_name": "penalty λ‖θ‖²/2", "units": "criterion"},
    "objective": {"long_name": "loss + penalty", "units": "criterion"},
}
