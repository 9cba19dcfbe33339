"""The paper's timing figures: a batch forward and backward, beside qpth, Gurobi and SciPy."""
