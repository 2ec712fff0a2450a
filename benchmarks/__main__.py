"""`python -m benchmarks`: measure, print, and write what was found.

Ends with status 1 when a measurement failed or an answer was an error.
"""

from __future__ import annotations

import sys

from benchmarks.errors import BenchError
from benchmarks.interruption import INTERRUPTED, end_when_told
from benchmarks.options import parse_options
from benchmarks.plot import draw
from benchmarks.suite import Suite
from benchmarks.work_folder import work_folder


def main() -> int:
    """Run what the command line asks for."""
    options = parse_options()
    end_when_told()
    failure = ""
    with work_folder(options.work_dir) as work:
        suite = Suite(options, work)
        try:
            suite.run()
        except BenchError as error:
            failure = str(error)
        except KeyboardInterrupt:
            failure = INTERRUPTED
    report = suite.report
    if failure:
        report.notes.append(f"not complete: {failure}")
        print(f"\nnot complete: {failure}", file=sys.stderr)
    if options.json:
        report.write(options.json)
        print(f"figures: {options.json}")
    if options.plot and report.reloads:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        print(draw(report.reloads, options.plot))
    return 1 if failure or report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
