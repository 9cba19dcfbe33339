"""How long an epoch takes, beside qpth: ``python -m benchmarks.paper.denoising.speed``.

A few batches of each are timed in turn, forward, backward and step of Adam, and multiplied up to an
epoch of 9000 signals. Run it where nothing else runs. qpth works as in the authors' code: at its
default tolerance, 1e-12, which it gives up to reach after 20 iterations; ours is 1e-8, relative.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import nn

from benchmarks.interface import cpus
from benchmarks.paper import command
from benchmarks.paper.denoising.__main__ import TRAINING
from benchmarks.paper.denoising.models import PrimalProgram, TunedProgram, TunedVariation
from benchmarks.paper.denoising.signals import Signals, generate
from benchmarks.paper.denoising.train import BATCH, Recipe, Tally, step
from qpcore import Settings


class QpthProgram(PrimalProgram):
    """As the authors: parameters expanded over the batch."""

    def solve(
        self, Q: torch.Tensor, p: torch.Tensor, G: torch.Tensor, h: torch.Tensor
    ) -> torch.Tensor:
        """Return z of (e)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from qpth.qp import QPFunction

            count, nothing = len(p), torch.empty(0, dtype=p.dtype)
            shared = [argument.expand(count, *argument.shape) for argument in (Q, G, h)]
            solve = QPFunction(verbose=-1, check_Q_spd=False)
            return solve(shared[0], -p, *shared[1:], nothing, nothing)


@dataclass
class Contender:
    """A model at work, with the seconds of its batches."""

    name: str
    make: Callable[[], nn.Module]
    batches: int
    """That are timed in each round."""
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.model = self.make().to(self.dtype)
        self.recipe = Recipe(self.make, 1e-4)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.recipe.rate)
        self.seconds: list[float] = []

    def run(self, parts: Sequence[Signals]) -> None:
        """Train on some batches, each timed."""
        for part in parts[: self.batches]:
            part = Signals(part.noisy.to(self.dtype), part.clean.to(self.dtype))
            start = perf_counter()
            step(self.model, self.recipe, self.optimizer, part, Tally())
            self.seconds.append(perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time all of them with one thread and with all, print a table, write speed.json."""
    parser = command.parser("benchmarks.paper.denoising.speed", __doc__)
    options = parser.parse_args(arguments)
    command.require("qpth", "qpth", "the comparison of epochs")
    out = command.folder(options, "denoising")
    report = {"machine": command.machine(), "signals": TRAINING, "batch": BATCH, "epochs": []}
    for threads in dict.fromkeys([1] if options.quick else [1, cpus()]):
        report["epochs"] += measure(threads, options.quick)
        command.save(report, out / "speed.json")


def measure(threads: int, quick: bool) -> list[dict]:
    """Seconds of an epoch of each contender."""
    torch.set_num_threads(1)  # its threads would spin on the cores that those of qpcore need
    settings = Settings(threads=threads)
    slow, rounds = (1, 1) if quick else (2, 3)
    contenders = [
        Contender("tuned variation", lambda: TunedVariation(settings=settings), 5 * slow),
        Contender("tuned program", lambda: TunedProgram(settings=settings), 5 * slow),
        Contender("the same, primal", lambda: PrimalProgram(settings=settings), slow),
    ]
    if threads == 1:  # with two, qpth was seen to hang at 200 variables, in MKL's pivoting
        contenders += [
            Contender("the same, primal, qpth", QpthProgram, slow),
            Contender("the same, primal, qpth, float32", QpthProgram, slow, torch.float32),
        ]
    parts = generate(10 * BATCH).batches(BATCH)
    with command.bar(f"{threads} threads", len(contenders) * (rounds + 1)) as advance:
        for number in range(rounds + 1):
            for contender in contenders:
                contender.run(parts if number else parts[:1])
                if number == 0:  # compiles
                    contender.seconds.clear()
                advance(contender.name)
    lines = [line(contender, threads) for contender in contenders]
    for entry in lines:
        print(f"{entry['name']:35} {entry['seconds per epoch']:8.1f} s per epoch")
    return lines


def line(contender: Contender, threads: int) -> dict:
    """What the results say of a contender; nothing is said of one that lost its parameters."""
    batch = statistics.median(contender.seconds)
    finite = all(p.isfinite().all().item() for p in contender.model.parameters())
    return {
        "name": contender.name,
        "threads": threads,
        "seconds per batch": contender.seconds,
        "seconds per epoch": batch * TRAINING / BATCH,
        "parameters still finite": finite,
    }


if __name__ == "__main__":
    main()
