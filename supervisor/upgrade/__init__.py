"""Upgrade in place: another program takes over what this one has, in the same process."""
