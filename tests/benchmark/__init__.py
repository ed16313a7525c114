"""The benchmark: how fast it is, beside what the same costs by hand, in the lab.

`scripts/benchmark` runs it.
"""
