"""The paper's 4x4 Sudoku: a QP layer learns the rules from puzzles and their solutions."""
