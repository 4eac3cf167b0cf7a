"""What the experiment claims of the weighted model, and whether it came out."""

import numpy as np

from benchmarks.harness import claims
from benchmarks.harness.claims import Claim
from benchmarks.harness.statistics import mean_and_error
from benchmarks.harness.tables import Results
from benchmarks.studies.mnist import show
from benchmarks.studies.mnist.settings import Settings

#: Nats that a bracket may be wide.
_WIDTH = 1.0


def find(results: Results, settings: Settings) -> list[Claim]:
    """Bounds that are tight and believed; better than a mixture and PCD; shares nearer."""
    weighted = [results[f"jarzynski_{seed}"] for seed in range(settings.num_seeds)]
    found = []
    for seed, arrays in enumerate(weighted):
        name = f"weighted walkers, seed {seed}"
        (lower, lower_error), (upper, upper_error) = arrays["lower"], arrays["upper"]
        error = float(np.hypot(lower_error, upper_error))
        width = abs(lower - upper)
        found.append(claims.below(f"{name}: nats between the bounds", width, _WIDTH, error))
        doubts = str(arrays["doubts"])
        found.append(claims.is_true(f"{name}: bounds are believed", not doubts, "no doubt"))
        best = min((results[rival]["values"] for rival in show.MIXTURES), key=np.mean)
        found.append(_paired(f"{name}: nats better than the best mixture", best, arrays))
        for rival in settings.algorithms[1:]:
            values = results[f"{rival}_{seed}"]["values"]
            label = f"{name}: nats better than {show.LABELS[rival]}"
            found.append(_paired(label, values, arrays))
    if settings.num_seeds > 1:
        for rival in settings.algorithms[1:]:
            gains = [
                show.distance_from_data(results[f"{rival}_{seed}"])
                - show.distance_from_data(arrays)
                for seed, arrays in enumerate(weighted)
            ]
            text = f"shares nearer to the data's than {show.LABELS[rival]}'s, total variation"
            gain, error = mean_and_error(np.asarray(gains))
            found.append(claims.above(text, gain, 0.0, error))
    return found


def _paired(text: str, rival: np.ndarray, arrays: dict[str, np.ndarray]) -> Claim:
    """By the mean over the same test images, and its error."""
    gain, error = mean_and_error(rival - arrays["values"])
    return claims.above(text, gain, 0.0, error)
