"""Further fronts as the supervisor sees them: HTTP processes beside its own."""
