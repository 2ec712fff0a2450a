"""`python -m supervisor`: the same as the command `hotpaddle`."""

import sys

from supervisor.cli import main

sys.exit(main())
