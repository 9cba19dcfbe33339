"""Remove noise from signals, the four ways of the paper's table 1 and one more."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import torch
from torch import nn

from benchmarks.paper import command
from benchmarks.paper.denoising import plot
from benchmarks.paper.denoising.models import denoise, differences
from benchmarks.paper.denoising.signals import Signals, generate
from benchmarks.paper.denoising.train import BATCH, RECIPES, Epoch, evaluate, train
from qpcore import Settings

TRAINING, TEST = 9000, 1000
PENALTIES = range(5, 41)
"""λ that are tried for total variation."""

SHOWN = 3
"""Test signals whose denoised forms go into the results, to be drawn."""

MAIN = ("fully connected", "tuned variation", "learned differences")


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the penalties, train each row with each seed, and save after each of them."""
    options = parse(arguments)
    torch.set_num_threads(1)  # its threads would spin on the cores that those of qpcore need
    out = command.folder(options, "denoising")
    training, test = select(options)
    report = {
        "machine": command.machine(),
        "signals": {"training": len(training), "test": len(test), "seed": 0, "batch": BATCH},
        "shown": {
            "noisy": test.noisy[:SHOWN].tolist(),
            "clean": test.clean[:SHOWN].tolist(),
        },
        "total variation": scan(training, test, options.penalties),
        "runs": [],
    }
    for name in options.rows:
        for seed in options.seeds:
            epochs = options.epochs or RECIPES[name].epochs
            report["runs"].append(learn(name, seed, training, test, epochs))
            command.save(report, out / "results.json")
    print(plot.draw(out))
    print(f"results.json, results.md, curves.png and signals.png are in {out}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = command.parser("benchmarks.paper.denoising", __doc__, seeds=3)
    parser.add_argument("--epochs", type=int, help="default: that of each row, 50 or 100")
    parser.add_argument("--rows", nargs="+", choices=RECIPES, default=list(MAIN))
    options = parser.parse_args(arguments)
    options.penalties = PENALTIES
    if options.quick:
        options.epochs, options.penalties = min(options.epochs or 2, 2), PENALTIES[::8]
        options.seeds = options.seeds[:1]
    return options


def select(options: argparse.Namespace) -> tuple[Signals, Signals]:
    """Training and test signals: the first 9000 and the last 1000, or a few of both."""
    training, test = (4 * BATCH, 2 * BATCH) if options.quick else (TRAINING, TEST)
    signals = generate(training + test)
    return signals[:training], signals[training:]


def scan(training: Signals, test: Signals, penalties: Sequence[int]) -> dict:
    """Total variation with each penalty; the best one is chosen by the training signals."""
    D, settings = differences(), Settings()
    errors: dict[str, list[float]] = {"train": [], "test": []}
    with command.bar("total variation", len(penalties)) as advance:
        for penalty in penalties:
            model = partial(denoise, D, penalty=float(penalty), settings=settings)
            errors["train"].append(evaluate(model, training).error)
            errors["test"].append(evaluate(model, test).error)
            advance(f"λ {penalty}: test {errors['test'][-1]:.2f}")
    i = errors["train"].index(min(errors["train"]))
    best = partial(denoise, D, penalty=float(penalties[i]), settings=settings)
    return {
        "penalties": list(penalties),
        **errors,
        "best": {"penalty": penalties[i], "train": errors["train"][i], "test": errors["test"][i]},
        "shown": shown(best, test),
    }


def learn(name: str, seed: int, training: Signals, test: Signals, epochs: int) -> dict:
    """Train one row with one seed, under a bar; returns what the results say of it."""
    torch.manual_seed(seed)
    model, lines = RECIPES[name].make(), list[Epoch]()
    with command.bar(f"{name}, seed {seed}", epochs + 1) as advance:
        for line in train(model, RECIPES[name], training, test, epochs):
            lines.append(line)
            advance(f"test {line.test:.2f}, {line.seconds:.1f} s")
    return {
        "row": name,
        "seed": seed,
        "train": evaluate(model, training).error,
        "test": lines[-1].test,
        "unsolved": sum(line.failures for line in lines),
        "epochs": [asdict(line) for line in lines],
        "shown": shown(model, test),
        "parameters": count(model),
    }


def shown(model: Callable[[torch.Tensor], torch.Tensor], test: Signals) -> list[list[float]]:
    """Denoise the signals that are drawn."""
    with torch.no_grad():
        return [[round(v, 3) for v in signal] for signal in model(test.noisy[:SHOWN]).tolist()]


def count(model: nn.Module) -> int:
    """Count what is learned."""
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
