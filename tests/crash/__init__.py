"""The long proofs: real processes, real kills, a real server that keeps books.

`pytest -m crash` runs all of it and prints its figures; a short form is in the default suite.
"""
