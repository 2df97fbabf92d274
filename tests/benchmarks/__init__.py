"""Benchmarks: each notebook against what a learner would otherwise pick. See docs/benchmarks.md for the results.

python -m tests.benchmarks TASK --budget SECONDS [--device auto|cpu]
python -m tests.benchmarks --page
"""
