"""A year of the job that uploads are saved with: 365 runs over a tree that grows, with a clock of their own.

Every run is checked: the newest restore point and two others drawn at random come back equal to what there was, in
names, bytes, times, modes and owners; at the end all that are kept do. Once a month the commands of RESTORE.md are run
as they stand, with GNU tar alone. Sizes and times go to a table (CSV) and a picture (SVG). Called by run.sh.
"""

import argparse
import csv
import datetime
import json
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import plot
from tools import Run

CONFIG = """\
main:
  server_name: web-01
  admin_mail: root@localhost
  client_mail: ['']
  mail_from: root@localhost
  level_message: error
  log_file: {work}/log
  nice: 0
  ionice: none
  state_dir: {work}/state
  lock_file: {work}/lock
jobs:
- job: Bitrix-inc-files
  type: inc_files
  sources:
  - target: ["{work}/var/www/*/upload/"]
    gzip: yes
  storages:
"""
JOB = "Bitrix-inc-files"
STORAGES = ("first", "second")
COLUMNS = ("day", "date", "level", "archives", "entries", "added", "changed", "deleted", "archive_bytes", "index_bytes")
COLUMNS += ("record_bytes", "stored_bytes", "total_bytes", "run_s", "run_cpu_s", "restore_s", "restore_cpu_s")
# Stored in all, of each level.
TOTALS = {level: f"total_{level}_bytes" for level in plot.LEVELS}


class Year:
    def __init__(self, options):
        self.tools, self.work = Path(options.tools), Path(options.work) / "year"
        self.files, self.dirs, self.days = options.files, options.dirs, options.days
        self.first = datetime.date.fromisoformat(options.first)
        self.tree = self.work / "var/www/shop/upload"
        self.random = random.Random(1)
        # By moment of the run: the sum of the tree, and its line in the table.
        self.sums, self.rows = {}, []
        self.records, self.checked, self.by_tar = {}, 0, 0
        shutil.rmtree(self.work, ignore_errors=True)
        self.tree.parent.mkdir(parents=True)
        for name, storages in (("conf", STORAGES), *((f"conf.{s}", (s,)) for s in STORAGES)):
            text = CONFIG.format(work=self.work)
            text += "".join(f"  - {{storage: local, enable: yes, backup_dir: {self.work}/{s}}}\n" for s in storages)
            (self.work / name).write_text(text)
            (self.work / name).chmod(0o600)

    def moment(self, day, hour=3):
        return f"{self.first + datetime.timedelta(days=day)}T{hour:02}:00"

    def live(self, day):
        """What happens to the tree on a day; how many files were added, changed, deleted."""
        first = int(datetime.datetime.combine(self.first, datetime.time(), datetime.timezone.utc).timestamp())
        command = [self.tools / "uploads", self.tree, f"day={day}", f"first={first}", f"files={self.files}", f"dirs={self.dirs}"]
        return [int(n) for n in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]

    def sum_of(self, tree):
        """Sum over the tree, and how many entries it has."""
        done = subprocess.run([self.tools / "treesum", tree], capture_output=True, text=True, check=True)
        return done.stdout.split()

    def look(self):
        """Takes notice of records that are new, forgets what went; returns what is new."""
        there = {str(p): p for p in (self.work / STORAGES[0]).rglob("*.nxs.json") if not p.name.startswith(".nxs-")}
        new = []
        for gone in self.records.keys() - there.keys():
            del self.records[gone]
        for name in there.keys() - self.records.keys():
            record = json.loads(there[name].read_text().splitlines()[0])
            archive = Path(name.removesuffix(".nxs.json"))
            sizes = [Path(f"{archive}{end}").stat().st_size for end in ("", ".nxs.idx", ".nxs.json")]
            self.records[name] = {"archive": archive, "sizes": sizes} | {k: record[k] for k in ("id", "level", "parents", "local")}
            new.append(self.records[name])
        return new

    def restored(self, storage, at):
        """Restores the state of a moment and compares it; returns what the restore took."""
        place = Path(tempfile.mkdtemp(dir=self.work))
        command = f"{self.tools}/examples/at {self.moment(self.days)} -c {self.work}/conf.{storage} restore {JOB}"
        run = Run(f"{command} --at {at[:10]}' '{at[11:]} --to {place}/to > {place}/said 2>&1 || {{ cat {place}/said; false; }}")
        self.compare(f"{place}/to{self.tree}", at, f"storage {storage}")
        shutil.rmtree(place)
        self.checked += 1
        return run

    def compare(self, tree, at, what):
        if self.sum_of(tree)[0] != self.sums[at]:
            sys.exit(f"{at}, {what}: what came back differs from what there was")

    def by_page(self, storage, at):
        """Runs the commands of RESTORE.md as they stand, but for the place of what they make."""
        page = (self.work / storage / "RESTORE.md").read_text()
        block = next(b for b in page.split("```sh\n")[1:] if "-xp" in b).split("```")[0]
        place = Path(tempfile.mkdtemp(dir=self.work))
        block = block.replace("/tmp/restore", f"{place}/restore")
        done = subprocess.run(["bash", "-e", "-c", block], cwd=self.work / storage, capture_output=True, text=True)
        if done.returncode or done.stderr:
            sys.exit(f"{at}: RESTORE.md: {done.stderr}")
        self.compare(f"{place}/restore{self.tree}", at, f"by RESTORE.md of storage {storage}")
        shutil.rmtree(place)
        self.by_tar += 1

    def kept(self):
        return sorted(r["local"][:16] for r in self.records.values())

    def day(self, day):
        at = self.moment(day)
        changes = self.live(day)
        self.sums[at], entries = self.sum_of(self.tree)
        run = Run(f"{self.tools}/examples/at {at} -c {self.work}/conf start > {self.work}/said 2>&1 || {{ cat {self.work}/said; false; }}")
        (new,) = self.look()
        other = STORAGES[(day + 1) % 2]
        restore = self.restored(STORAGES[day % 2], at)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda at: self.restored(other, at), self.random.choices(self.kept(), k=2)))
        if day % 30 == 29 or day == self.days - 1:
            self.by_page(other, at)
        totals = dict.fromkeys(TOTALS.values(), 0)
        for record in self.records.values():
            totals[TOTALS[record["level"]]] += sum(record["sizes"])
        values = [day, at[:10], new["level"], 1 + len(new["parents"]), entries, *changes, *new["sizes"], sum(new["sizes"])]
        values += [sum(totals.values()), round(run.wall, 3), round(run.cpu, 3), round(restore.wall, 3), round(restore.cpu, 3)]
        self.rows.append(dict(zip(COLUMNS, values)) | totals)

    def finish(self):
        """All that is kept comes back, and the program finds nothing wrong."""
        kept = self.kept()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda n: self.restored(STORAGES[n % 2], kept[n]), range(len(kept))))
        for storage in STORAGES:
            Run(f"{self.tools}/examples/at {self.moment(self.days)} -c {self.work}/conf.{storage} verify > /dev/null")
        return len(kept)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--tools", "--work", "--csv", "--svg"):
        parser.add_argument(name, required=True)
    parser.add_argument("--files", type=int, default=2400)
    parser.add_argument("--dirs", type=int, default=960)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--first", default="2025-07-28")
    options = parser.parse_args()
    year = Year(options)
    for day in range(year.days):
        year.day(day)
        if day % 30 == 29:
            print(f"{day + 1} days: {year.checked} restores equal, {year.by_tar} by GNU tar", flush=True)
    kept = year.finish()
    with open(options.csv, "w", newline="") as file:
        table = csv.DictWriter(file, [*COLUMNS, *TOTALS.values()], lineterminator="\n")
        table.writeheader()
        table.writerows(year.rows)
    begins = [datetime.date.fromisoformat(r["date"]) for r in year.rows]
    months = [(n, d.strftime("%b")) for n, d in enumerate(begins) if d.day == 1]
    last = year.rows[-1]
    heading = f"{year.days} runs of an upload directory that grew from {year.rows[0]['entries']} to {last['entries']} entries"
    Path(options.svg).write_text(plot.picture(year.rows, months, heading))
    days = [r for r in year.rows if r["level"] == "day"]
    print(f"{heading}; {kept} restore points kept, {year.checked} restores equal, {year.by_tar} by RESTORE.md")
    for name in ("stored_bytes", "run_s", "restore_s"):
        values = sorted(r[name] for r in days)
        print(f"{name} of a day: median {values[len(values) // 2]:g}, most {values[-1]:g}")
    print(f"on each storage {last['total_bytes'] / 1e6:.1f} MB")
    shutil.rmtree(year.work)


main()
