"""Reading results back: tables, exports, pages."""
