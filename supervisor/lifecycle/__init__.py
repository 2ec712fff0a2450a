"""Lifecycle: which version serves, and how it comes and goes."""
