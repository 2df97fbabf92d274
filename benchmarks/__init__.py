"""Recipes that learners often begin with, rebuilt exactly and trained beside our notebooks."""
