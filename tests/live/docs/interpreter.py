"""Runs the Python of a page: `interpreter.py FILE`. The names that a reader has are in DOCS_VALUES."""

import json
import os
import sys

file = sys.argv[1]
with open(file) as source:
    exec(compile(source.read(), file, "exec"), {"__name__": "__main__"} | json.loads(os.environ["DOCS_VALUES"]))
