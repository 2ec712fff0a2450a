"""Kept: what one program leaves to the next one at an upgrade in place. Plain data only."""
