#!/usr/bin/env python3
"""One run of version 2's `inc_files` for one target, imitated from its description.

    make_inc.py BACKUP_DIR PART STEM TARGET YYYY-MM-DD [gzip] [copies] [files-index] [whole-seconds]

gzip: compressed archives. copies: a storage without links. files-index: the older shape of the state files.
whole-seconds: fulls in GNU format, whose times have no fraction.
"""

import json
import os
import shutil
import sys
import tarfile

backup_dir, part, stem, target, date = sys.argv[1:6]
options = set(sys.argv[6:])
year, month, day = date.split("-")
decade = "01" if int(day) <= 10 else "11" if int(day) <= 20 else "21"
name = f"{stem}_{date}_03-00.tar" + (".gz" if "gzip" in options else "")
root = os.path.join(backup_dir, part, year)
places = {
    "year": (os.path.join(root, "year"), "year.inc"),
    "month": (os.path.join(root, f"month_{month}", "monthly"), "month.inc"),
    "decade": (os.path.join(root, f"month_{month}", "daily", f"day_{decade}"), "daily.inc"),
}


def state_path(place):
    return os.path.join(*places[place])


def archive_path(place):
    return os.path.join(places[place][0], name)


def find_state():
    """All names, and the times of those that are files (links are followed)."""
    files, index = [], {}
    for directory, _, names in os.walk(target):
        for entry in names:
            path = os.path.join(directory, entry)
            files.append(path)
            if os.path.isfile(path):
                index[path] = os.path.getmtime(path)
    return files, index


def write_state(path, files, index):
    with open(path, "w") as out:
        json.dump({"files": files, "index": index} if "files-index" in options else index, out)


def read_state(path):
    with open(path) as source:
        state = json.load(source)
    return state.get("index", state) if "files" in state else state


def open_tar(path, form):
    return tarfile.open(path, "w:gz" if "gzip" in options else "w", format=form)


def make_full(path):
    with open_tar(path, tarfile.GNU_FORMAT if "whole-seconds" in options else tarfile.PAX_FORMAT) as tar:
        tar.add(target)


def make_increment(path, base, index):
    changed = {p for p, mtime in index.items() if base.get(p) != mtime}
    with open_tar(path, tarfile.PAX_FORMAT) as tar:
        for directory, dirs, names in os.walk(target):
            dirs.sort()
            marks = {entry: "D" for entry in dirs}
            for entry in names:
                marks[entry] = "Y" if os.path.join(directory, entry) in changed else "N"
            info = tar.gettarinfo(directory)
            listing = "".join(marks[entry] + entry + "\0" for entry in sorted(marks)) + "\0"
            info.pax_headers = {"GNU.dumpdir": listing}
            tar.addfile(info)
        for entry in sorted(changed):
            tar.add(entry, recursive=False)


def stand_in(source, place, is_state):
    to = state_path(place) if is_state else archive_path(place)
    os.makedirs(os.path.dirname(to), exist_ok=True)
    if os.path.lexists(to):
        os.unlink(to)
    if "copies" in options:
        shutil.copy2(source, to)
    else:
        os.symlink(os.path.abspath(source), to)


files, index = find_state()
if not os.path.exists(state_path("year")):
    os.makedirs(places["year"][0], exist_ok=True)
    make_full(archive_path("year"))
    write_state(state_path("year"), files, index)
    for place in ("month", "decade"):
        stand_in(archive_path("year"), place, False)
        stand_in(state_path("year"), place, True)
else:
    place, base = ("month", "year") if day == "01" else ("decade", "month") if day in ("11", "21") else ("decade", None)
    os.makedirs(places[place][0], exist_ok=True)
    make_increment(archive_path(place), read_state(state_path(base or "decade")), index)
    if base:
        if os.path.lexists(state_path(place)):
            os.unlink(state_path(place))
        write_state(state_path(place), files, index)
    if day == "01":
        stand_in(state_path("month"), "decade", True)
