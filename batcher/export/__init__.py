"""Results in other forms: OpenAI's own files, flat tables, failed rows to be sent again.

    lines of an output    report.reading   Standing, one at a time
    their source's rows   rows.py          SourceRows, by line
    fields                fields.py        Field: a column's name, and where its value is found
    kinds                 survey.py        what the columns hold, from a first reading
    tables                tables.py        CSV, JSON lines, Parquet
    OpenAI's files        openai.py
    failed rows           failed.py

Everything streams: what is held is a line, a row group, and some 12 bytes for each row of a source.
"""
