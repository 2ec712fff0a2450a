"""The control channel: between the supervisor and a worker.

Owns its vocabulary. Carries loads, with the descriptors of staged files, and no requests. Runs in
both processes: the worker reads it blocking, the supervisor from its event loop.
"""

from __future__ import annotations

from gpu_worker.ipc.channel import Channel
from gpu_worker.ipc.messages import VOCABULARY, Message


class ControlChannel(Channel[Message]):
    """One end of the channel."""

    vocabulary = VOCABULARY
