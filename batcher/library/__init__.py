"""batcher within a program; the command line is a thin face of the same entry.

`batcher` itself names what is public, and imports it from here when it is first asked for.
"""
