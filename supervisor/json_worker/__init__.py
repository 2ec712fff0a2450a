"""The JSON worker: a process that turns large JSON into tensors and back.

Parsing holds the interpreter lock, so that a megabyte of JSON in the supervisor's process would
hold up every other request, in whatever thread it is parsed.
"""
