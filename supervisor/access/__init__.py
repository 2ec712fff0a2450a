"""Access: who may ask for what, over which way."""
