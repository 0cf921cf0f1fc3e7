"""A report as a table, Markdown, CSV, JSON or an HTML page."""
