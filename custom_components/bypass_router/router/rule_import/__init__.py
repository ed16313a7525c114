"""Forwards that a person has made by hand: detected, and replaced by ours."""
