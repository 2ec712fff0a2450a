"""Repository: what lies on disk, how it is noticed, and the bytes that are loaded."""
