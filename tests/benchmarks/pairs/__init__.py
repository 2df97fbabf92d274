"""One module per pair: what is compared, the baseline recipe, and how the notebook's own training is called."""
