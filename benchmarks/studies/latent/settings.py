"""How large the study is."""

from typing import NamedTuple


class Settings(NamedTuple):
    """Binary images for compression, digits with noise for the table, and closed forms.

    The images are MNIST's if a folder is given, else scikit-learn's digits at a threshold.
    """

    data: str = ""
    # Binary images.
    hidden: tuple[int, ...] = (100,)
    latent_dim: int = 40
    num_updates: int = 60000
    batch_size: int = 100
    num_test: int = 1000
    num_bound_samples: int = 100
    annealing_steps: int = 200
    annealing_walkers: int = 8
    latent_bits: tuple[int, ...] = (2, 4, 6, 8, 10)
    #: Latents, and steps of annealing: the last of either cost much the same.
    num_samples: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    coding_steps: tuple[int, ...] = (2, 4, 8, 16, 32)
    num_swept: int = 200
    #: Of the seed words, and so of the latents, in these sweeps.
    num_seeds: int = 4
    # Digits with noise.
    num_digit_updates: int = 20000
    num_diffusion_steps: int = 100
    num_bracketed: int = 270
    #: Costly, for their latents are paths; only bounded if none.
    num_diffusion_bracketed: int = 32
    with_energy: bool = True
    # Closed forms.
    num_linear_updates: int = 4000


FULL = Settings()
#: On scikit-learn's digits.
QUICK = Settings(
    hidden=(64,),
    latent_dim=10,
    num_updates=1500,
    num_test=200,
    num_bound_samples=50,
    annealing_steps=100,
    annealing_walkers=8,
    latent_bits=(4, 8),
    num_samples=(1, 16),
    coding_steps=(4, 16),
    num_swept=100,
    num_seeds=1,
    num_digit_updates=1000,
    num_diffusion_steps=50,
    num_bracketed=50,
    num_diffusion_bracketed=0,
    with_energy=False,
    num_linear_updates=4000,
)
