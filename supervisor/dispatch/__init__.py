"""Dispatch: from an admitted request to a worker and back."""
