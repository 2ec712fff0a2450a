"""Express: plain requests all the way in compiled code, from the socket to the ring and back.

Owns no decision and no state of its own: what it does to requests, slots and rings is what the
Python code of `http`, `dispatch` and `workers` does, to the same objects. Without a compiler at
installation there is no such code, and Python does it all. Runs on the event loop of every front.
"""
