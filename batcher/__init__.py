"""batcher: a file of chat and tool-call requests in, one result a row and the bill out."""

__version__ = "0.1.0"
