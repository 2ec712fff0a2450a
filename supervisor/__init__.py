"""Hotpaddle's supervisor: an asyncio process that takes requests, fans them out, replaces models.

Runs in one process with an event loop; never imports paddle.
"""

__version__ = "0.1.0"
