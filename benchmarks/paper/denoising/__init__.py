"""The paper's signal denoising: total variation as a QP layer, tuned on examples."""
