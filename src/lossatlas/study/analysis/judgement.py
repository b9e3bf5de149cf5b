"""From a statistic and a rule to a verdict, and everything that a hostile reader would ask about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lossatlas.study.analysis.jackknife import FEWEST, LEVEL
from lossatlas.study.analysis.rules import Rule, Verdict
from lossatlas.study.analysis.statistic import NOTHING, PAIR, Estimate, Statistic

AGREEING = 2 / 3  # of the matched comparisons: where fewer have the stated sign, a mean says little of single networks
FALSE_DISCOVERIES = 0.05  # share of decided findings that may be decided by chance
FACTORS = ("dataset", "architecture", "depth", "width", "activation", "optimizer", "weight_decay")
UNDECIDED: Verdict = "undecided"


@dataclass(frozen=True)
class Level:
    """A finding's number on one level of another factor."""

    level: object
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Judgement:
    """A number, what a rule makes of it, and what would change that.

    `share` of the units have the stated sign; NaN where the number is no mean of units with signs. `reversed_by` is the
    factor between whose levels the number changes sides. `sensitivity` says what changes the verdict, "" where nothing.
    `general` is whether the interval over configurations decides as the other does.
    """

    found: Estimate
    verdict: Verdict
    p_value: float
    share: float = math.nan
    reversed_by: str = ""
    levels: tuple[Level, ...] = ()
    general: bool = False
    sensitivity: str = ""


def judge(statistic: Statistic | None, rule: Rule) -> Judgement:
    """What the rule makes of a statistic, before the false-discovery control over all findings.

    Supported (contradicted) where the interval over draws and seeds lies on the stated (other) side of the bound, at
    least two thirds of the matched units do, and no other factor reverses it. Mixed where the interval decides and
    units or levels disagree. Undecided otherwise.

    Args:
        statistic: None where the study has no networks for it.
        rule: which side is stated.
    """
    if statistic is None or not statistic.n:
        return Judgement(NOTHING, UNDECIDED, math.nan)
    found = statistic.summary()
    alone, share = _verdict(statistic, rule, found)
    verdict, decided = alone, alone in ("supported", "contradicted")
    reversing = next(_reversals(statistic, rule), None) if decided or verdict == "mixed" else None
    if reversing and decided:
        verdict = "mixed"
    return Judgement(
        found=found,
        verdict=verdict,
        p_value=math.nan if found.too_few else rule.p_value(found.mean, found.interval),
        share=share,
        reversed_by=reversing[0] if reversing else "",
        levels=reversing[1] if reversing else (),
        general=decided and rule.decide(found.configurations) == rule.decide(found.interval),
        sensitivity="; ".join(_sensitivity(statistic, rule, alone)),
    )


def controlled(judgement: Judgement, q_value: float) -> Judgement:
    """The judgement where a verdict stands only with few false discoveries in its family."""
    if judgement.verdict == UNDECIDED or q_value <= FALSE_DISCOVERIES:
        return judgement
    return replace(judgement, verdict=UNDECIDED, general=False)


def _verdict(statistic: Statistic, rule: Rule, found: Estimate) -> tuple[Verdict, float]:
    """By the interval and the share of agreeing units, and that share."""
    decided = UNDECIDED if found.too_few else rule.decide(found.interval)
    if statistic.values is None or statistic.share:
        return decided, math.nan
    share = float(rule.stated(statistic.values).mean())
    agreeing = {"supported": share, "contradicted": float(rule.contrary(statistic.values).mean())}.get(decided, 1.0)
    return ("mixed" if agreeing < AGREEING else decided), share


def _reversals(statistic: Statistic, rule: Rule) -> Iterator[tuple[str, tuple[Level, ...]]]:
    """Factors of which one level lies on the stated side and another one on the other, by intervals for all levels.

    A qualitative interaction (Gail and Simon 1985): intervals are widened for the number of levels (Bonferroni).
    """
    for factor in FACTORS:
        if factor not in statistic.names or statistic.values is None:
            continue
        levels = list(dict.fromkeys(statistic.names[factor].dropna()))
        if len(levels) < 2:
            continue
        level = 1 - (1 - LEVEL) / len(levels)
        parts = [statistic.keep((statistic.names[factor] == one).to_numpy(dtype=bool)) for one in levels]
        sides = {rule.decide(part.over_seeds(level=level)[0]) for part in parts}
        if {"supported", "contradicted"} <= sides:
            yield factor, tuple(_on_level(name, part) for name, part in zip(levels, parts, strict=True))


def _on_level(name: object, part: Statistic) -> Level:
    own, _ = part.over_seeds()
    return Level(name, part.estimate, own.low, own.high)


def _sensitivity(statistic: Statistic, rule: Rule, verdict: Verdict) -> Iterator[str]:
    """What changes the verdict, reversals apart: one draw less, one seed less, the bound moved."""
    for column, name in (("data_seed", "data seed"), ("seed", "seed")):
        columns = [column] if column in statistic.names else list(PAIR) if column == "seed" else []
        members = sorted({int(value) for one in columns for value in statistic.names[one]})
        for member in members if len(members) >= FEWEST else []:
            rest = statistic.keep(~(statistic.names[columns].to_numpy() == member).any(axis=1))
            if rest.n and (other := _alone(rest, rule)) != verdict:
                yield f"{other} without {name} {member}"
    for moved in rule.moved():
        if (other := _alone(statistic, moved)) != verdict:
            yield f"{other} if the bound is {moved.words()}"


def _alone(statistic: Statistic, rule: Rule) -> Verdict:
    return _verdict(statistic, rule, statistic.summary())[0]
