"""How large the comparison is; every method's numbers are the same on all models."""

from typing import NamedTuple


class Settings(NamedTuple):
    """Which models and methods, how many seeds, and the numbers that methods are given."""

    models: tuple[str, ...]
    methods: tuple[str, ...]
    #: Of ours, for each estimate, its pilot's and both directions' included.
    num_gradients: int
    #: Of each method on each model, at most.
    num_seeds: int
    #: CPU seconds on a model, behind the first run, after which a method gets no further seed.
    seconds: float
    #: Live points of dynesty and BlackJAX.
    num_live: int = 500
    #: Root samples of jaxns, which wants 30 a dimension, at most.
    max_roots: int = 300
    #: Beyond so many dimensions dynesty is left out, and a run of it would take an hour.
    max_dimension_dynesty: int = 20


STANDARD = Settings(
    models=(
        "regression_5",
        "regression_20",
        "regression_50",
        "shells",
        "egg_box",
        "spike",
        "schools",
        "schools_centred",
        "logistic",
    ),
    methods=("ours", "ours_with_nuts", "dynesty", "jaxns", "blackjax"),
    num_gradients=1_000_000,
    num_seeds=16,
    seconds=60.0,
)
#: Jaxns compiles for half a minute, and ours as long again without samples of NUTS.
QUICK = STANDARD._replace(
    models=("schools",),
    methods=("ours_with_nuts", "dynesty", "blackjax"),
    num_gradients=200_000,
    num_seeds=4,
    seconds=4.0,
)
