"""Which solvers get which problems right, on hundreds of real and nasty ones, and how fast."""
