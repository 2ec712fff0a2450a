"""Spans of requests that others trace: what they say, and how they are handed on."""
