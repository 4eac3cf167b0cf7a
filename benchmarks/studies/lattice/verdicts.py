"""What the study claims of what it found."""

import numpy as np

from benchmarks.harness import claims
from benchmarks.harness.claims import Claim
from benchmarks.harness.tables import Results
from benchmarks.studies.lattice import exact
from benchmarks.studies.lattice.settings import Settings
from benchmarks.studies.lattice.show import METHODS, covered_shape, seconds_to_equal_error

#: Nats, of the comparison of times.
_WANTED = 0.01


def all_claims(results: Results, settings: Settings, is_quick: bool) -> list[Claim]:
    return [
        *_ising(results, settings, is_quick),
        *_networks(results, settings),
        *_fields(results, settings, is_quick),
        *_steps(results["free_flow"]),
        *_coverage(results, settings),
        *_free_flow(results["free_flow"]),
        *_gauge(results, settings),
    ]


def _near(name: str, pair: np.ndarray, truth: float, num_errors: float = 3.0) -> Claim:
    value, error = pair
    return claims.within(name, value, error, truth, num_errors)


def _ising(results: Results, settings: Settings, is_quick: bool) -> list[Claim]:
    found = []
    for length in settings.ising_lengths:
        rows = results[f"ising_{length}"]
        for number, beta in enumerate(settings.ising_betas):
            name = f"Ising {length}x{length}, β = {beta:.4g}"
            value, error, truth = (rows[of][number] for of in ("value", "error", "exact"))
            found.append(claims.within(f"{name}: log Z by heat bath", value, error, truth))
            limit = 1e-3 if is_quick else 1e-4
            relative = abs(value / truth - 1)
            found.append(claims.below(f"{name}: relative error of log Z", relative, limit))
    return found


def _networks(results: Results, settings: Settings) -> list[Claim]:
    found = []
    for length in settings.network_lengths:
        rows = results[f"network_{length}"]
        truth, name = float(rows["exact"]), f"network of Ising {length}x{length}"
        gap = truth - rows["raw"][0]
        found += [
            claims.above(
                f"{name}: KL divergence, log Z less its raw bound", gap, 0.0, rows["raw"][1]
            ),
            _near(f"{name}: log Z by importance sampling", rows["nis"], truth),
            _near(f"{name}: log Z annealed on", rows["on"], truth),
            claims.is_true(
                f"{name}: neither log Z is doubted, by samples of the other side",
                rows["num_nis_doubts"] + rows["num_on_doubts"] == 0,
                "no doubt",
            ),
            _near(f"{name}: log Z by heat bath alone", rows["heat_bath"], truth),
            _near(f"{name}: log Z by clusters", rows["clusters"], truth),
            claims.above(
                f"{name}: effective sample size annealed on, that of importance sampling being "
                f"{float(rows['nis_ess']):.3g}",
                float(rows["on_ess"]),
                float(rows["nis_ess"]),
            ),
            claims.above(
                f"{name}: time of N whole passes over that of a sample",
                float(rows["drawing_ratio"]),
                1.0,
            ),
        ]
    return found


def equal_error_rows(results: Results, settings: Settings) -> list[tuple[str, str, str, str]]:
    """Of each method: lattice, name, seconds to the error wanted, and what was measured."""
    rows = []
    for length in settings.network_lengths:
        found = results[f"network_{length}"]
        for name, label in METHODS.items():
            seconds = seconds_to_equal_error(found, name, _WANTED)
            extra = float(found["training_seconds"]) if name in ("nis", "on") else 0.0
            training = f" + {extra:.3g} of training" if extra else ""
            error, spent = float(found[name][1]), float(found[f"{name}_seconds"])
            text = f"{seconds:.3g}{training}"
            rows.append((f"{length}x{length}", label, text, f"{error:.2g} in {spent:.2g} s"))
    return rows


def observable_rows(results: Results, settings: Settings) -> list[tuple[str, ...]]:
    """⟨|M|⟩, χ = V⟨M²⟩ and ⟨φ²⟩ along the chain; what its own τ does not allow is doubted."""
    rows = []
    for shape in settings.field_shapes:
        text, volume = "x".join(map(str, shape)), int(np.prod(shape))
        found = results[f"field_{text}"]
        for number, kappa in enumerate(found["kappas"][1:]):
            cells = []
            for name, factor in (("abs_m", 1), ("square_m", volume), ("square_phi", 1)):
                value, error = factor * found[name][number]
                doubt = ", doubted" if found[f"{name}_doubts"][number] else ""
                cells.append(f"{value:.5g} ± {error:.2g}{doubt}")
            rows.append((text, f"{kappa:.3g}", *cells, f"{found['abs_m_tau'][number, 0]:.3g}"))
    return rows


def _fields(results: Results, settings: Settings, is_quick: bool) -> list[Claim]:
    found = []
    for shape in settings.field_shapes:
        text = "x".join(map(str, shape))
        rows, near = results[f"field_{text}"], results[f"gaussian_{text}"]
        is_large = shape[0] * shape[1] > 500
        for kappa, of in zip(near["ends"], near["brackets"], strict=True):
            limit = 0.2 if (is_large and kappa >= 0.27) or is_quick else 0.05
            name = f"φ⁴ {text}, κ = {kappa:.4g}, from the best Gaussian: width of the bracket"
            # A bracket that is crossed by as much is no better than a wide one.
            width, error = abs(of[4] - of[2]), float(np.hypot(of[3], of[5]))
            found.append(claims.below(f"{name}, nats", width, limit, error))
        for kappa, of in zip(rows["ends"], rows["brackets"], strict=True):
            name = f"φ⁴ {text}, κ = {kappa:.4g}, from κ = 0: the bracket closes, or is doubted"
            is_told = of[2] - of[0] < 0.5 or of[6] > 0
            found.append(claims.is_true(name, bool(is_told), "so"))
        found += _at_equal_gradients(f"φ⁴ {text}, κ = 0.3", rows, near, is_large)
    return found


def _at_equal_gradients(
    name: str, rows: dict[str, np.ndarray], near: dict[str, np.ndarray], is_large: bool
) -> list[Claim]:
    """The chain's error about the mean of the calls from the best Gaussian, and theirs."""
    values = near["ours"][:, 0]
    truth, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    of_chain = float(np.sqrt(np.mean(np.square(rows["chain"][:, 0] - truth))))
    share = float(near["budget"] / rows["budget"])
    found = [
        claims.below(
            f"{name}: error of one call from the best Gaussian with {share:.3g} of the "
            "gradients over that of the chain",
            spread / of_chain,
            1 / 3 if is_large else 1.0,
        )
    ]
    if is_large:  # from κ = 0 the large field has walls, and is doubted above
        return found
    reference = rows["brackets"][-1]
    error = float(np.hypot(spread / np.sqrt(len(values)), reference[5]))
    what = f"{name}: calls from the best Gaussian beside long annealing from κ = 0"
    return [*found, claims.within(what, truth, error, reference[4])]


def _steps(found: dict[str, np.ndarray]) -> list[Claim]:
    """Variances of a step from κ = 0 to 0.01, and how many steps the published grids have."""
    counts = [len(exact.grid(level)) - 1 for level in range(1, 6)]
    rows = {"free field 64x8": "free_variance", "64x2, λ = 0.022": "narrow_variance"}
    return [
        *(
            claims.within(f"relative variance of a step's weights, {name}", *found[of])
            for name, of in rows.items()
        ),
        claims.is_true(
            f"simulations of the published grids are {counts}",
            counts == [14, 24, 40, 76, 88],
            "14, 24, 40, 76, 88",
        ),
    ]


def _coverage(results: Results, settings: Settings) -> list[Claim]:
    shape = covered_shape(settings)
    found = results[f"field_{shape}"]
    kappas = found["kappas"][1:]
    shares, errors = found["folded_share"], found["folded_error"]
    last = {
        name: found[f"gaussian_{name}"][-1] for name in ("share", "error", "ess", "forward_ess")
    }
    each = [
        claims.within(f"half space, φ⁴ {shape}, κ = {kappa:.3g}: ŵ", share, share * error, 0.5)
        for kappa, share, error in zip(kappas, shares, errors, strict=True)
    ]
    return [
        *each,
        claims.within(
            f"Gaussian, φ⁴ {shape}, κ = {kappas[0]:.3g}: ŵ",
            found["gaussian_share"][0],
            found["gaussian_share"][0] * found["gaussian_error"][0],
            1.0,
        ),
        claims.within(
            "Gaussian, κ = 0.3: ŵ", last["share"], last["share"] * last["error"] + 0.01, 0.5
        ),
        claims.above(
            "Gaussian, κ = 0.3: effective sample size by its own samples", last["ess"], 0.2
        ),
        claims.below(
            "Gaussian, κ = 0.3: effective sample size by the target's",
            last["forward_ess"],
            0.01,
        ),
        claims.is_true(
            "Gaussian, κ = 0.3: it is told that modes are missing",
            bool(found["gaussian_num_doubts"][-1] > 0),
            "a doubt",
        ),
    ]


def _free_flow(found: dict[str, np.ndarray]) -> list[Claim]:
    return [
        claims.below(
            "free field 64x8 by its exact flow: greatest relative difference from log Z of a "
            "log-weight",
            float(found["difference"]),
            1e-5,
        )
    ]


def _gauge(results: Results, settings: Settings) -> list[Claim]:
    found = []
    for length in settings.gauge_lengths:
        rows = results[f"gauge_{length}"]
        for number, beta in enumerate(settings.gauge_betas):
            name = f"U(1) {length}x{length}, β = {beta:g}, annealed"
            log_z, cosine, charge = rows["exact"][number]
            found += [
                _near(f"{name}: log Z", rows["log_z"][number], log_z),
                _near(f"{name}: ⟨cos P⟩", rows["cosine"][number], cosine),
                _near(f"{name}: ⟨Q²⟩", rows["charge"][number], charge, 4.0),
            ]
        if len(settings.gauge_betas) > 1:
            tau = rows["chain_tau"][:, 0]
            slowing = tau[-1] / tau[0] if np.isfinite(tau[-1]) else np.inf
            name = f"U(1) {length}x{length}: τ of Q at the coldest over that at the warmest"
            found.append(claims.above(name, min(slowing, 1e6), 10.0))
    return found
