"""`hotpaddle demo`: a real recogniser reads text while its model is replaced.

Owns the demo and nothing of the server, which it starts as a process and speaks to over
HTTP like any client. Never imports paddle, nor the server's modules.
Runs in the process of `hotpaddle demo`.
"""

from supervisor.demo.options import DemoOptions
from supervisor.demo.scenario import run_demo

__all__ = ["DemoOptions", "run_demo"]
