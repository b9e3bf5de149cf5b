"""Names, meanings and units of the variables and coordinates of results."""

from __future__ import annotations

# Descriptions of every variable and coordinate that a probe may return.
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
    "eigenvalues": {"long_name": "eigenvalues of the Hessian", "units": "criterion / parameter²"},
    "residuals": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "smallest": {"long_name": "smallest eigenvalue of the Hessian", "units": "criterion / parameter²"},
    "smallest_residual": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "trace": {"long_name": "trace of the Hessian", "units": "criterion / parameter²"},
    "trace_error": {"long_name": "standard error of the trace", "units": "criterion / parameter²"},
    "weight_decay": {"long_name": "weight decay λ", "units": "criterion / parameter²"},
    "measured": {"long_name": "whether the node was measured", "units": "1"},
    "penalty": {"long_name": "penalty λ‖θ‖²/2", "units": "criterion"},
    "objective": {"long_name": "loss + penalty", "units": "criterion"},
}
