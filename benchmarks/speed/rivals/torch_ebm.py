"""torchebm's PCD, timed in the rivals' environment: no JAX here.

Its replay buffer holds as many chains as the batch has data: then each update continues every
chain once, in place, which is PCD as ours is. By default it would draw its starts from 10000
chains, disturb a twentieth of them by a little noise and add the squares of the energies to the
loss; all of it is off. A test of the loss for NaN stays.

What it does more: it evaluates the energies of the walkers before the move, for the step, and
after it, for the loss. Ours takes both gradients at the same positions, hence at once.
"""

import argparse
import math
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchebm.core import BaseModel
from torchebm.losses import ContrastiveDivergence
from torchebm.samplers import LangevinDynamics

from benchmarks.speed.rivals.clock import report, time_repeats

_DIMENSION = 50


class TwoModeMixture(BaseModel):
    """``jarzynski_jax.energies.mixture``: two centres, and the log-odds between them."""

    def __init__(self) -> None:
        super().__init__()
        a, b = 0.01 * torch.randn(2, _DIMENSION)
        a[0], b[0] = -0.1, 0.1
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)
        self.z = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        to_a, to_b = ((x - centre).square().sum(-1) / 2 for centre in (self.a, self.b))
        return -torch.logaddexp(-to_a, -to_b - self.z)


class OnGaussianBase(BaseModel):
    """A diagonal Gaussian, not trained, plus a network whose last layer starts at zero."""

    def __init__(self, data: Tensor, network: nn.Sequential) -> None:
        super().__init__()
        nn.init.zeros_(network[-1].weight)
        self.network = network
        self.register_buffer("mean", data.mean(0))
        self.register_buffer("inverse_scale", 1 / data.std(0, correction=0))

    def forward(self, x: Tensor) -> Tensor:
        whitened = (x - self.mean) * self.inverse_scale
        return whitened.square().flatten(1).sum(-1) / 2 + self.network(x).squeeze(-1)


def mixture_step(num_walkers: int) -> Callable[[], Tensor]:
    """Two modes in 50 dimensions; gradient descent, as ours."""
    is_first = torch.rand(num_walkers) < 0.25
    data = torch.randn(num_walkers, _DIMENSION)
    data[:, 0] += torch.where(is_first, -10.0, 6.0)
    model = TwoModeMixture()
    return build_step(model, torch.optim.SGD(model.parameters(), 1e-3), data, 0.1)


def mlp_step(num_walkers: int) -> Callable[[], Tensor]:
    """784-256-256-1."""
    hidden = nn.Linear(784, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU()
    network = nn.Sequential(*hidden, nn.Linear(256, 1, bias=False))
    return _network_step(network, num_walkers, 784)


def convnet_step(num_walkers: int) -> Callable[[], Tensor]:
    """Six layers: four convolutions of stride 2, two dense."""
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 5, 2, 4), nn.SiLU()]
    for before, after in ((16, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.SiLU()]
    layers += [nn.Flatten(), nn.Linear(256, 64), nn.SiLU(), nn.Linear(64, 1, bias=False)]
    return _network_step(nn.Sequential(*layers), num_walkers, 1, 28, 28)


def _network_step(
    network: nn.Sequential, num_walkers: int, *shape: int
) -> Callable[[], Tensor]:
    data = 0.3 * torch.randn(num_walkers, *shape)
    model = OnGaussianBase(data, network)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-2)
    return build_step(model, optimizer, data, 1e-3)


def build_step(
    model: BaseModel, optimizer: torch.optim.Optimizer, data: Tensor, step_size: float
) -> Callable[[], Tensor]:
    """One update: a Langevin step of every chain, all data as the batch, the optimizer."""
    loss_fn = ContrastiveDivergence(
        model,
        LangevinDynamics(model, step_size=step_size),
        k_steps=1,
        persistent=True,
        buffer_size=len(data),
        init_steps=0,
        new_sample_ratio=0.0,
        energy_reg_weight=0.0,
    )
    # The chains would start from noise; ours start from data.
    loss_fn.initialize_buffer(data.shape[1:])
    loss_fn.replay_buffer.copy_(data)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss, chains = loss_fn(data)
        loss.backward()
        optimizer.step()
        return chains

    _check_persistent(step, lambda: loss_fn.get_start_points(data), data, step_size)
    return step


def _check_persistent(
    step: Callable[[], Tensor], next_start: Callable[[], Tensor], data: Tensor, h: float
) -> None:
    """See that a step starts where the last one ended, and is as wide as Langevin's."""
    chains = step()
    if not torch.equal(chains, next_start()):
        raise RuntimeError("torchebm does not go on from the chains of the last update")
    width = (chains - data).std().item() / math.sqrt(2 * h)
    if not 0.5 < width < 2:
        raise RuntimeError(f"torchebm's step is {width:.2g} times as wide as ours")


STEPS = {"mixture": mixture_step, "mlp": mlp_step, "convnet": convnet_step}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=STEPS)
    for option in ("--num-walkers", "--num-steps", "--num-repeats"):
        parser.add_argument(option, type=int, required=True)
    given = parser.parse_args()
    # XLA takes all cores too.
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    step = STEPS[given.case](given.num_walkers)
    report(
        {"torchebm": time_repeats(step, given.num_repeats, given.num_steps)},
        ("torchebm", "torch"),
    )
