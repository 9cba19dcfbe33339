"""Decision-focused learning: a prediction is trained for the decision that is made with it."""
