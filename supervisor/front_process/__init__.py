"""A further front: an HTTP process with rings of its own to every worker."""
