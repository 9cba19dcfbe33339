"""The experiments of the OptNet paper (Amos & Kolter 2017, arXiv 1703.00443), one folder each."""
