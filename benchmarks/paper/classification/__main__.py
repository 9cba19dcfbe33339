"""Read handwritten digits with and without a QP before the softmax, or in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch

from benchmarks.paper import command
from benchmarks.paper.classification import plot
from benchmarks.paper.classification.digits import load
from benchmarks.paper.classification.models import MODELS
from benchmarks.paper.classification.train import BATCH, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Train each model with each seed, print a table, write results.json and curves.png."""
    parser = command.parser("benchmarks.paper.classification", __doc__, seeds=10)
    parser.add_argument("--epochs", type=int, default=80)
    options = parser.parse_args(arguments)
    if options.quick:
        options.epochs, options.seeds = min(options.epochs, 2), options.seeds[:2]
    torch.set_num_threads(1)
    out = command.folder(options, "classification")
    training, test = load(0)
    report = {
        "machine": command.machine(),
        "digits": {"training": len(training), "test": len(test), "batch": BATCH},
        "summary": [],
        "runs": [],
    }
    for name in MODELS:
        report["runs"] += [learn(name, seed, options.epochs) for seed in options.seeds]
        report["summary"].append(summary(name, report["runs"]))
        command.save(report, out / "results.json")
    plot.draw(out)
    for line in report["summary"]:
        print(
            f"{line['model']:24} test accuracy {line['mean']:.2%} ± {line['spread']:.2%}, "
            f"{line['runs with NaN']} runs with NaN, {line['seconds per epoch']:.2f} s per epoch"
        )
    print(f"results.json and curves.png are in {out}")


def learn(name: str, seed: int, epochs: int) -> dict:
    """Train one model with one seed, under a bar."""
    training, test = load(seed)
    torch.manual_seed(seed)
    model, lines = MODELS[name](), []
    with command.bar(f"{name}, seed {seed}", epochs) as advance:
        for line in train(model, training, test, epochs):
            lines.append(line)
            advance(f"test {line.test:.1%}")
    with torch.no_grad():
        zeros = float((model.probabilities(model(test.images)) < 1e-6).double().mean())
    return {
        "model": name,
        "seed": seed,
        "share of probabilities below 1e-6": zeros,
        "epochs": [asdict(line) for line in lines],
    }


def summary(name: str, runs: Sequence[dict]) -> dict:
    """Mean and spread over the seeds of the accuracy after the last epoch."""
    ours = [run for run in runs if run["model"] == name]
    accuracies = [run["epochs"][-1]["test"] for run in ours]
    return {
        "model": name,
        "seeds": len(ours),
        "mean": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies, ddof=1)) if len(ours) > 1 else 0.0,
        "least": min(accuracies),
        "runs with NaN": sum(not all(line["finite"] for line in run["epochs"]) for run in ours),
        "seconds per epoch": float(
            np.median([line["seconds"] for run in ours for line in run["epochs"]])
        ),
    }


if __name__ == "__main__":
    main()
