"""Endpoints that a run can name, and those that it serves itself."""
