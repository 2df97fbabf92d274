"""Widely used recipes, trained for as long as our notebooks train, on the same data and device."""
