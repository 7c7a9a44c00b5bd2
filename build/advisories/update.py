#!/usr/bin/env python3
"""Writes rustsec.tsv from a clone of the RustSec advisory database.

    update.py CLONE

Only what decides whether a crate is affected is taken: names, versions, dates. The database is in the public domain (CC0).
"""
import pathlib
import subprocess
import sys
import tomllib

HEAD = """\
# What the RustSec advisory database knew on {date}: id, crate, date, kind, unaffected versions, patched versions.
# Written by build/advisories/update.py; build/advisories/check.sh reads it.
"""


def main() -> None:
    clone = sys.argv[1]
    git = ["git", "-C", clone]
    date = subprocess.check_output([*git, "log", "-1", "--format=%cs"], text=True).strip()
    names = subprocess.check_output([*git, "ls-tree", "-r", "--name-only", "HEAD", "crates"], text=True).split()
    lines = []
    for name in names:
        text = subprocess.check_output([*git, "show", f"HEAD:{name}"], text=True)
        # A document in Markdown that begins with a block of TOML.
        document = tomllib.loads(text.split("```toml", 1)[1].split("```", 1)[0])
        advisory, versions = document["advisory"], document.get("versions", {})
        if "withdrawn" in advisory:
            continue
        fields = [advisory["id"], advisory["package"], str(advisory["date"]), advisory.get("informational", "vulnerability")]
        lists = [", ".join(f'"{each}"' for each in versions.get(key, [])) for key in ("unaffected", "patched")]
        lines.append("\t".join(fields + lists) + "\n")
    table = pathlib.Path(__file__).with_name("rustsec.tsv")
    table.write_text(HEAD.format(date=date) + "".join(sorted(lines)))


main()
