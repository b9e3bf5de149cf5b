"""Table 3: the spectral density of the Hessian, at equal error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.networks import Problem
from benchmarks.peers import Nodes
from benchmarks.setting import Setting
from benchmarks.table import Table, Values
from benchmarks.timing import Outcome, Timed, Tool
from lossatlas.numerics.lanczos import extremal_eigenpairs
from lossatlas.numerics.quadrature import quadrature
from lossatlas.operators.hessian import Hessian, dense_hessian

# The defaults of lossatlas.spectral_density, of which these are the parts.
DEFAULTS = {"draws": 5, "steps": 80}
OUTLIERS = 10
SEEDS = 5  # answers of which the error is the median
OUR_STEPS, THEIR_STEPS = (10, 20, 40, 80), (20, 40, 100)  # 100: PyHessian's default
CONVOLUTIONS = ("ResNet",)  # in float64 they take ten times as long; float32 is far below LINEAR_BELOW
PART = 256  # examples of such a network: with them tuning, ten thousand products, takes minutes
WIDTH = 0.02  # of the range of the axis: standard deviation of the Gaussian on every eigenvalue
LINEAR_BELOW = 1e-4  # of the largest |λ|, where the logarithmic axis becomes linear

OURS, OUR_DEFAULTS = "lossatlas", "lossatlas, defaults"
PYHESSIAN, EIGENTHINGS = "PyHessian", "hessian-eigenthings"


def cases(setting: Setting) -> Sequence[str]:
    return ("1x50",) if setting.effort.quick else ("1x50", "2x100", "ResNet")


def problem_of(case: str, setting: Setting) -> Problem:
    problem = setting.problem(case)
    if case in CONVOLUTIONS:
        return replace(problem, inputs=problem.inputs[:PART], targets=problem.targets[:PART])
    return problem


def tools(case: str, setting: Setting) -> dict[str, Tool]:
    problem, effort = problem_of(case, setting), setting.effort
    k = min(OUTLIERS, effort.largest)

    def ours(draws: int, steps: int, seed: int = 0) -> Outcome:
        loss = problem.loss()
        product, size = Hessian(loss, loss.theta), loss.layout.size
        generator = torch.Generator().manual_seed(seed)
        pairs = extremal_eigenpairs(product, size, largest=k, smallest=1, generator=generator, dtype=loss.dtype)
        outliers = torch.cat([pairs.largest, pairs.smallest])
        vectors = torch.cat([pairs.largest_vectors, pairs.smallest_vectors])
        found = quadrature(product, size, draws=draws, steps=steps, generator=generator, deflate=(outliers, vectors))
        return Outcome(Nodes(found.nodes, found.weights), found.products + pairs.products)

    def pyhessian(draws: int, steps: int, seed: int = 0) -> Outcome:
        engine = peers.PyHessian(problem)
        return Outcome(engine.density(draws, steps, seed), engine.products)

    def eigenthings(draws: int, steps: int, seed: int = 0) -> Outcome:
        engine = peers.Eigenthings(problem)
        return Outcome(engine.density(draws, steps, seed), engine.products)

    def tuned() -> dict[str, Any]:
        loss = problem.loss(torch.float32 if case in CONVOLUTIONS else torch.float64)
        matrix = dense_hessian(loss, loss.theta).double()
        exact = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
        truths = {scale: Truth(exact, scale) for scale in ("log", "linear")}
        answers = [ours(**DEFAULTS, seed=seed) for seed in range(SEEDS)]
        errors = median_errors([answer.value for answer in answers], truths)
        defaults = {**DEFAULTS, "products": answers[0].count, **errors, "reached": True}  # by what is to be reached
        theirs = equal_error(pyhessian, THEIR_STEPS, truths, defaults["log"], effort.pool)
        again = [eigenthings(theirs["draws"], theirs["steps"], seed).value for seed in range(SEEDS)]
        return {
            OUR_DEFAULTS: defaults,
            OURS: cheapest([defaults, equal_error(ours, OUR_STEPS, truths, defaults["log"], effort.pool)]),
            PYHESSIAN: theirs,
            EIGENTHINGS: theirs | median_errors(again, truths),
        }

    found = setting.remembered(f"tuned/density {case}", tuned)

    def tool(name: str, run: Callable[..., Outcome], *, outliers: str = "") -> Tool:
        draws, steps, reached = found[name]["draws"], found[name]["steps"], found[name].get("reached", True)
        late = "" if reached else ", error not reached"
        rival = reached and name not in (OURS, OUR_DEFAULTS)
        return Tool(lambda: run(draws, steps), f"{outliers}{draws} draws of {steps} steps{late}", rival=rival)

    return {
        OURS: tool(OURS, ours, outliers=f"{k} + 1 outliers, "),
        OUR_DEFAULTS: tool(OUR_DEFAULTS, ours, outliers=f"{k} + 1 outliers, "),
        PYHESSIAN: tool(PYHESSIAN, pyhessian),
        EIGENTHINGS: tool(EIGENTHINGS, eigenthings),
    }


def judge(case: str, setting: Setting, timed: Mapping[str, Timed]) -> dict[str, Values]:
    found = setting.kept(f"tuned/density {case}")
    return {name: {"error": found[name]["log"], "linear": found[name]["linear"]} for name in timed}


# Errors --------------------------------------------------------------------------------------------------------


class Truth:
    """The whole spectrum on an axis: about ± log₁₀ |λ| ("log"), linear near zero, or λ as it is ("linear")."""

    def __init__(self, exact: Tensor, scale: str) -> None:
        self.scale, self.largest = scale, float(exact.abs().max())
        places = self.warped(exact)
        low, high = float(places.min()), float(places.max())
        self.sigma = WIDTH * (high - low)
        self.axis = torch.linspace(low - 6 * self.sigma, high + 6 * self.sigma, 600, dtype=torch.float64)
        self.density = self.broadened(places, torch.full_like(places, 1 / len(places)))

    def warped(self, values: Tensor) -> Tensor:
        unit = 2 * LINEAR_BELOW * self.largest
        return torch.asinh(values.double() / unit) / math.log(10) if self.scale == "log" else values.double()

    def broadened(self, places: Tensor, weights: Tensor) -> Tensor:
        bumps = torch.exp(-0.5 * ((self.axis[:, None] - places) / self.sigma) ** 2)
        return bumps @ weights / (self.sigma * math.sqrt(2 * math.pi))

    def error(self, nodes: Nodes) -> float:
        """∫ |estimate − truth|, between 0 and 2.

        >>> truth = Truth(torch.tensor([0.0, 1.0]), "linear")
        >>> truth.error(Nodes(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]])))
        0.0
        >>> round(truth.error(Nodes(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))), 3)
        1.0
        """
        weights = nodes.weights.double() / len(nodes.weights)
        found = self.broadened(self.warped(nodes.values).flatten(), weights.flatten())
        return float(torch.trapezoid((found - self.density).abs(), self.axis))


def equal_error(
    run: Callable[..., Outcome], steps: Sequence[int], truths: Mapping[str, Truth], wanted: float, pool: int
) -> dict[str, Any]:
    """The fewest products with which a tool's median error on the logarithmic axis is at most `wanted`.

    From a pool of its draws, of which half is the most that is tried: of more, random subsets would be much the same.
    What would take more products than what is already good enough is not tried. Where nothing is, the best of all.
    """
    tried: list[dict[str, Any]] = []
    for count in steps:
        least = min((entry["products"] for entry in tried if entry["reached"]), default=math.inf)
        most = int(min(pool // 2, least / count))
        if most < 2:
            continue
        outcome = run(2 * most, count)
        beside = (outcome.count or 0) - 2 * most * count  # products for what does not depend on the draws
        for draws in range(2, most + 1):
            errors = median_errors(subsets(outcome.value, draws), truths)
            entry = {"draws": draws, "steps": count, "products": beside + draws * count, **errors}
            tried.append(entry | {"reached": errors["log"] <= wanted})
            if errors["log"] <= wanted:
                break
    return cheapest(tried)


def cheapest(tried: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fewest products of what is good enough; where nothing is, the best."""
    good = [entry for entry in tried if entry["reached"]]
    return min(good, key=lambda entry: entry["products"]) if good else min(tried, key=lambda entry: entry["log"])


def median_errors(answers: Sequence[Nodes], truths: Mapping[str, Truth]) -> dict[str, float]:
    return {name: float(np.median([truth.error(nodes) for nodes in answers])) for name, truth in truths.items()}


def subsets(nodes: Nodes, count: int, *, samples: int = 15) -> list[Nodes]:
    """Random choices of so many draws."""
    rng = np.random.default_rng(0)
    rows = [torch.from_numpy(rng.choice(len(nodes.values), count, replace=False)) for _ in range(samples)]
    return [Nodes(nodes.values[some], nodes.weights[some]) for some in rows]


TABLE = Table(
    name="density",
    title="The spectral density of the Hessian",
    text=(
        "Stochastic Lanczos quadrature to the same error. The error is the integral of |estimate − truth|, between 0 "
        "and 2, where the truth is the whole spectrum from the dense Hessian (products in float64, those of the ResNet "
        "in float32, on the first 256 examples), and both are broadened by the same Gaussian, with a standard "
        "deviation of 2 % of the axis: of the logarithmic one of `spectral_density`, and beside it of the linear one. "
        "The error to reach is the median one of lossatlas with its defaults on the logarithmic axis; lossatlas and "
        "PyHessian have the cheapest draws and steps that reach it, and hessian-eigenthings, whose algorithm is "
        "PyHessian's, those of PyHessian. PyHessian 0.1 calls `torch.eig`, which torch no longer has: it was handed "
        "the symmetric solver in its place."
    ),
    columns={"error": "L1 error (log axis)", "linear": "L1 error (linear axis)"},
    cases=cases,
    label=lambda case, setting: problem_of(case, setting).label,
    tools=tools,
    judge=judge,
)
