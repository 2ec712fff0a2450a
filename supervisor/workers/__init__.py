"""Workers: processes, the pool, when they are replaced."""
