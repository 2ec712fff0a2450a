"""The one error that ends a demo early.

Owns `DemoError`. It carries no HTTP status, because it never leaves the client: its message
tells the person at the terminal what to do next. Runs in the process of `hotpaddle demo`.
"""

from supervisor.errors import HotpaddleError


class DemoError(HotpaddleError):
    """The demo can't start or can't go on; the message says what to do."""
