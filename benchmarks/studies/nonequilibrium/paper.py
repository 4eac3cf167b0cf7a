"""Verdicts on what the paper says of its machines, as they come out."""

import numpy as np
import scipy.stats

from benchmarks.harness.tables import Results, markdown
from benchmarks.studies.nonequilibrium.settings import Settings

#: Entropy production, in nats a double step, below which a machine counts as nearly reversible,
#: and from which on as far from equilibrium.
SMALL, LARGE = 1.0, 10.0


def table(results: Results, settings: Settings) -> str:
    """The paper's claims, each with what came out for each setting of the optimizer."""
    header = ("claim of the paper", *(f"eps = {epsilon:g}" for epsilon in settings.epsilons))
    ceiling = results["ceiling"]
    middle = float(ceiling["unit_a_class"])
    columns = [
        _verdicts(results[f"machines_{epsilon:g}"], middle) for epsilon in settings.epsilons
    ]
    rows = [(claim, *(column[claim] for column in columns)) for claim in columns[0]]
    of_em = ceiling["log_likelihood"]
    note = (
        f"Of {len(of_em)} starts of EM the best has {of_em.max():.2f} nats an image, the "
        f"median {np.median(of_em):.2f}, the worst {of_em.min():.2f}; one unit a class has "
        f"{middle:.2f}, independent pixels {float(ceiling['pixels']):.2f}. Likelihood is low "
        f"below one unit a class, σ small below {SMALL:g} and large from {LARGE:g} on."
    )
    return f"{note}\n\n{markdown(header, rows)}\n"


def _verdicts(of: dict[str, np.ndarray], middle: float) -> dict[str, str]:
    number = len(of["log_likelihood"])
    below_chance = int(np.sum(of["persistence"] < 1 / of["log_law"].shape[1]))
    num_each = [np.bincount(units, minlength=3) for units in of["classes"]]
    num_even = sum(np.array_equal(counts, [2, 2, 2]) for counts in num_each)
    return {
        **_of_likelihood(of, middle),
        **_of_shares(of),
        **_of_times(of),
        "Tr M/L below 1/L for all": f"{below_chance} of {number}",
        "two variants of each digit": f"{num_even} of {number}",
    }


def _of_likelihood(of: dict[str, np.ndarray], middle: float) -> dict[str, str]:
    likelihood, sigma = of["log_likelihood"], of["entropy_production"]
    worst = np.sort(likelihood)[: max(1, len(sigma) // 3)]
    is_low, is_small = likelihood <= worst[-1], sigma < SMALL
    near = int(np.sum((likelihood > likelihood.max() - 5) & is_small))
    gap = np.abs(of["entropy_production_again"] - sigma) / np.sqrt(2)
    regime = np.digitize(sigma, (SMALL, LARGE))
    regimes = [np.bincount(regime[side], minlength=3) for side in _sides(likelihood, middle)]
    low, high = (", ".join(map(str, counts)) for counts in regimes)
    return {
        "likelihood, least / median / best": _three(likelihood, ".2f"),
        "entropy production σ, least / median / most": _three(sigma, ".2g"),
        "standard error of σ, median / most": f"{np.median(gap):.2g} / {gap.max():.2g}",
        "rank correlation of likelihood and σ": f"{_ranks(likelihood, sigma):.2f}",
        "three regimes: numbers of small, medium, large σ": (
            f"low likelihood: {low}; high: {high}"
        ),
        "low likelihood only when nearly reversible": (
            f"of the worst third {int(np.sum(is_low & is_small))} of {int(is_low.sum())} have "
            f"σ < {SMALL:g}"
        ),
        "high likelihood only far from equilibrium": (
            f"{near} machines within 5 nats of the best have σ < {SMALL:g}; the "
            "reversible rival has the same likelihood and σ = 0"
        ),
    }


def _of_shares(of: dict[str, np.ndarray]) -> dict[str, str]:
    """Of digits, and of hidden units: e^H of their law is how many of them take part."""
    is_even, is_small = of["divergence"] < 0.05, of["entropy_production"] < SMALL
    law = np.exp(of["log_law"])
    taking_part = np.exp(-np.sum(np.where(law > 0, law * of["log_law"], 0), axis=1))
    order = np.argsort(of["log_likelihood"])
    third = max(1, len(order) // 3)
    best, worst = (np.median(taking_part[of]) for of in (order[-third:], order[:third]))
    return {
        "even shares of digits (KL < 0.05) only for large σ": (
            f"{int(is_even.sum())} have them, {int(np.sum(is_even & is_small))} of these with "
            f"σ < {SMALL:g}"
        ),
        "even shares of hidden units where likelihood is high": (
            f"{best:.2f} of {law.shape[1]} take part in the best third, {worst:.2f} in the "
            f"worst; rank correlation {_ranks(taking_part, of['log_likelihood']):.2f}"
        ),
    }


def _of_times(of: dict[str, np.ndarray]) -> dict[str, str]:
    sigma, tau = of["entropy_production"], of["relaxation_time"]
    half = np.argsort(sigma)[len(sigma) // 2 :]
    return {
        "τ about 50 for large σ": (
            f"median of the upper half {np.median(tau[half]):.3g}, from "
            f"{tau[half].min():.2g} to {tau[half].max():.3g}"
        ),
        "rank correlation of τ and σ": f"{_ranks(tau, sigma):.2f}",
    }


def _sides(values: np.ndarray, middle: float) -> tuple[np.ndarray, np.ndarray]:
    return values < middle, values >= middle


def _three(values: np.ndarray, form: str) -> str:
    return " / ".join(f"{v:{form}}" for v in (values.min(), np.median(values), values.max()))


def _ranks(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation, Spearman's; machines whose σ is 0 share a rank."""
    return float(scipy.stats.spearmanr(one, other).statistic)
