"""Express: plain requests from the submission ring through the predictor and back, compiled.

Owns no decision of its own: what it does is what `loop`, `batching`, `batch` and `responder` do, on
the same memory. Without a compiler at installation there is no such code, and Python does it all.
Runs in the worker.
"""
