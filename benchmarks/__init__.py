"""What Hotpaddle promises, measured against the bare predictor in the same run.

`python -m benchmarks --help` lists what can be measured; `make bench` runs all of it. Nothing in
here is imported by the server, and nothing in here imports it: the server is started as a user
would start it. Files named `*_process.py` run as processes of their own.
"""
