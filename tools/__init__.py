"""Commands of this repository: `python -m tools` lists them."""
