"""How large the study is: quick, as a small machine can do it, and as large as the thesis'."""

from typing import NamedTuple


class Settings(NamedTuple):
    """Sizes; the defaults are the thesis' own of §4.3.1 but for its Figures 4.5 and 4.6.

    ``num_updates`` stands for one path length: with fewer than the thesis' 8000 updates the
    learning rates grow in proportion.
    """

    # Training in d dimensions (Figures 4.1 to 4.4), five runs each as in the thesis.
    num_seeds: int = 5
    dimension: int = 50
    num_walkers: int = 10_000
    num_data: int = 10_000
    num_updates: int = 8_000
    stride: int = 20
    pool_size: int = 100_000
    num_collapse_updates: int = 10_000
    # Long training without resampling (Figure 4.5) and with three resamplers at three lags
    # (Figure 4.6), as many data as walkers. The thesis has 1e5 walkers, 4.8e5 updates, 30
    # and 50 runs.
    num_long_walkers: int = 1_000
    num_long_updates: int = 48_000
    num_lag_seeds: int = 20
    num_lag_walkers: int = 2_000
    num_lag_updates: int = 4_000
    lags: tuple[int, ...] = (10, 100, 1000)
    # One dimension (§4.2): walkers and data, and seeds for the finite-sample shift.
    num_line_walkers: int = 10_000
    num_line_updates: int = 6_000
    num_shift_seeds: int = 40
    # Bias of the time step and the translated well (§2.3, Figure 3.1).
    num_langevin_walkers: int = 100_000
    # Where it stops holding: errors against N, speed and d; a thousand data.
    num_scaling_seeds: int = 16
    num_scaling_walkers: int = 1_000
    num_scaling_updates: int = 2_000
    scaling_walkers: tuple[int, ...] = (100, 316, 1000, 3162, 10_000)
    scaling_updates: tuple[int, ...] = (500, 1000, 2000, 4000, 8000)
    scaling_dimensions: tuple[int, ...] = (2, 5, 10, 20, 50, 100)


STANDARD = Settings()

THESIS = STANDARD._replace(
    num_long_walkers=100_000,
    num_long_updates=480_000,
    num_lag_seeds=50,
    num_lag_walkers=100_000,
    num_lag_updates=480_000,
)

QUICK = Settings(
    num_seeds=2,
    dimension=5,
    num_walkers=500,
    num_data=500,
    num_updates=500,
    stride=20,
    pool_size=2_000,
    num_collapse_updates=500,
    num_long_walkers=200,
    num_long_updates=500,
    num_lag_seeds=4,
    num_lag_walkers=200,
    num_lag_updates=500,
    num_line_walkers=500,
    num_line_updates=1_300,
    num_shift_seeds=8,
    num_langevin_walkers=5_000,
    num_scaling_seeds=4,
    num_scaling_walkers=200,
    num_scaling_updates=200,
    scaling_walkers=(100, 200),
    scaling_updates=(100, 200),
    scaling_dimensions=(2, 5),
)
