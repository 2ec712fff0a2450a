"""What supervisor and worker share: segments, arena, rings, doorbells, control channel, messages.

Imports the standard library and numpy only; both processes run it.
"""
