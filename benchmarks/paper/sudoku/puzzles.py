"""4x4 Sudoku puzzles with one solution each: made by seed, or read from the authors' file.

A board is an array (*, 4, 4) of digits 1 to 4, with 0 for an empty cell. Encoded it is one-hot,
(*, 4, 4, 4) over row, column and digit, and an empty cell is all zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from pathlib import Path

import numpy as np

DIGITS = np.arange(1, 5)

CLUE_SHARES = {4: 0.1363, 5: 0.5554, 6: 0.2860, 7: 0.0218, 8: 0.0005}
"""How often a puzzle has so many clues: as counted in the authors' 10,000 puzzles."""

AUTHORS_FILE = "mini4x4.npz"


@dataclass(frozen=True, eq=False)
class Puzzles:
    """Encoded puzzles and their solutions, both (count, 4, 4, 4) uint8."""

    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Count the puzzles."""
        return len(self.features)

    def __getitem__(self, part: slice) -> Puzzles:
        """Take a part of the puzzles."""
        return Puzzles(self.features[part], self.labels[part])


@cache
def all_boards() -> np.ndarray:
    """All 288 valid full boards, (288, 4, 4), in lexicographic order."""
    rows = permutations(DIGITS)
    bands = [(a, b) for a, b in product(rows, repeat=2) if set(a[:2]) == set(b[2:])]
    boards = np.array([top + bottom for top, bottom in product(bands, repeat=2)], np.uint8)
    return boards[is_valid(boards)]


def is_valid(boards: np.ndarray) -> np.ndarray:
    """Whether every row, column and 2x2 block holds every digit once; an empty cell is invalid."""
    batch = boards.shape[:-2]
    columns = boards.swapaxes(-1, -2)
    blocks = boards.reshape(*batch, 2, 2, 2, 2).swapaxes(-2, -3).reshape(*batch, 4, 4)
    groups = np.concatenate([boards, columns, blocks], axis=-2)
    return (np.sort(groups, axis=-1) == DIGITS).all(axis=(-1, -2))


def encode(boards: np.ndarray) -> np.ndarray:
    """One-hot code of boards, uint8."""
    return (np.asarray(boards)[..., None] == DIGITS).astype(np.uint8)


def decode(codes: np.ndarray) -> np.ndarray:
    """Board with the digit of the largest entry in each cell, 0 where all entries are zero."""
    return np.where(np.any(codes, axis=-1), np.argmax(codes, axis=-1) + 1, 0)


def completions(codes: np.ndarray) -> np.ndarray:
    """Number of valid full boards that agree with each encoded puzzle, (count,)."""
    boards = encode(all_boards()).reshape(288, 64).astype(np.float32)
    clues = codes.reshape(len(codes), 64).astype(np.float32)
    return (clues @ boards.T == clues.sum(axis=1, keepdims=True)).sum(axis=1)


def generate(count: int, seed: int) -> Puzzles:
    """Draw puzzles: a board, a number of clues by `CLUE_SHARES`, then cells until they suffice.

    So given board and number of clues, all puzzles with one solution are equally likely. In the
    authors' file 25 % of the puzzles have no clue that could be spared; here it is 24 %.
    """
    rng = np.random.default_rng(seed)
    labels = encode(all_boards())[rng.integers(288, size=count)]
    clues = rng.choice(list(CLUE_SHARES), size=count, p=list(CLUE_SHARES.values()))
    features = np.zeros_like(labels)
    open_ones = np.arange(count)
    while len(open_ones):
        ranks = rng.random((len(open_ones), 16)).argsort(axis=1)
        shown = (ranks < clues[open_ones, None]).reshape(-1, 4, 4, 1)
        features[open_ones] = labels[open_ones] * shown
        open_ones = open_ones[completions(features[open_ones]) != 1]
    return Puzzles(features, labels)


def load(folder: Path) -> Puzzles:
    """Read the authors' 10,000 puzzles (github.com/locuslab/optnet, sudoku/data/2, as npz)."""
    with np.load(folder / AUTHORS_FILE) as file:
        return Puzzles(file["features"], file["labels"])


def constraint_matrix() -> np.ndarray:
    """The rules as 64 equations of encoded boards, C code = 1; their rank is 40.

    One digit per cell; each digit once per row, per column and per block. Each entry is 0 or 1.
    """
    row, column, digit = np.indices((4, 4, 4)).reshape(3, 64)
    block = 2 * (row // 2) + column // 2
    groups = [4 * row + column, 4 * row + digit, 4 * column + digit, 4 * block + digit]
    return np.concatenate([np.arange(16)[:, None] == group for group in groups]).astype(float)
