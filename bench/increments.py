"""Increments against `tar -g`, restic, borg, bupstash, and a bare walk; their restores; millions of entries.

Trees that change here are named `alive` and are of the benchmark's own; `tree` and `many` are only read. Caches are warm.
"""

import gzip
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tools import MIB, Run, calls, pairs

# A full of the year, and the levels after it; a day each.
DAYS = ("2026-01-01", "2026-02-01", "2026-02-11", "2026-02-12")
BLOCK = 512


def nothing(_who):
    """Before a run."""


def newest(directory):
    """The archive that was written last."""
    found = [p for p in (directory / "backup").rglob("*.tar*") if not p.is_symlink() and ".nxs" not in p.name]
    return max(found, key=lambda p: p.stat().st_mtime_ns)


def parts(archive):
    """Bytes of archive, index and record."""
    return [Path(f"{archive}{end}").stat().st_size for end in ("", ".nxs.idx", ".nxs.json")]


def stored(archive):
    return sum(parts(archive))


def anatomy(archive):
    """What the plain bytes of an archive are, in words."""
    data = gzip.open(archive).read() if archive.suffix == ".gz" else archive.read_bytes()
    files, dirs, count, at, pax = [0, 0], 0, [0, 0], 0, 0
    while at < len(data) and data[at : at + BLOCK].strip(b"\0"):
        size = int(data[at + 124 : at + 136].strip(b" \0") or b"0", 8)
        kind, whole = data[at + 156 : at + 157], BLOCK + (size + BLOCK - 1) // BLOCK * BLOCK
        if kind == b"x":
            pax = whole
        elif kind == b"5":
            dirs, count[1], pax = dirs + pax + whole, count[1] + 1, 0
        else:
            files, count[0], pax = [files[0] + pax, files[1] + whole], count[0] + 1, 0
        at += whole
    return (
        f"plain: {files[1] / 1e6:.2f} MB of {count[0]} files with header and padding, {files[0] / 1e6:.2f} MB of their"
        f" extended headers, {dirs / 1e6:.2f} MB of {count[1]} directories"
    )


def files_of(tree):
    """Paths of all files, sorted."""
    paths = []
    for root, _, names in os.walk(tree):
        paths.extend(os.path.join(root, name) for name in names)
    return sorted(paths)


def rewrite(paths):
    """Other bytes of the same length, in place: for every second file noise, for the others their words in another order."""
    for number, path in enumerate(paths):
        data = Path(path).read_bytes()
        words = data.split(b" ")
        random.shuffle(words)
        with open(path, "r+b") as file:
            file.write(os.urandom(len(data)) if number % 2 else b" ".join(words))


class Increments:
    def increment(self):
        """Nothing changed, then one file in a hundred, against the parent's full."""
        place, tree = self.mem or self.work, self.work / "alive"
        directory, ours = self.job(place, "alive", "gzip: no", "inc_files")
        self.clear(directory, place / "rival.tar")
        # What changed within two seconds of a run is saved once more by the next.
        time.sleep(3)
        Run(ours)
        rival, state = place / "rival.tar", place / "rival.snar"
        Run(f"tar -c -g {state}.0 -f {rival} -C / {str(tree).lstrip('/')}")
        tar = f"cp {state}.0 {state}; tar -c -g {state} -f {rival} -C / {str(tree).lstrip('/')}"
        walk = f"{self.tools}/statwalk {tree} > /dev/null"
        runs = pairs(self.count, ours, walk, nothing)
        self.table.at_most("nothing changed in 100k files : bare walk", runs, 2.0, 1.5)
        size = stored(newest(directory))
        self.table.value("nothing changed, stored", size / 1024, "KiB", 64, "archive, index and record")
        rivals = [("tar -g", tar, 2.5), *self.programs(place, tree)]
        for shown, theirs, bar in rivals:
            runs = pairs(self.count, ours, theirs, nothing)
            self.table.pairs(f"nothing changed in 100k files : {shown}", runs, bar)
        changed = files_of(tree)[::100]
        rewrite(changed)
        (place / "changed").write_text("\n".join(path.lstrip("/") for path in changed))
        alone = f"tar -c -C / -T {place}/changed"
        runs = pairs(self.count, ours, tar, nothing)
        note = f"all that tar -g stores: {rival.stat().st_size / 1e6:.1f} MB"
        self.table.pairs("1 % changed of 100k files : tar -g", runs, 2.5, None, note)
        self.size_of_change("not compressed", directory, f"{alone} > {place}/alone", place / "alone")
        # The same increment as the article's job stores it.
        directory, ours = self.job(place, "alive", "gzip: yes", "inc_files")
        Run(ours)
        rewrite(changed)
        Run(ours)
        for packer in ("gzip -6", "pigz"):
            self.size_of_change(f"gzip: yes : {packer}", directory, f"{alone} | {packer} > {place}/alone", place / "alone")
        for name in ("restic", "borg", "bupstash", "restic-cache", "borg-base", "ours"):
            shutil.rmtree(place / name, ignore_errors=True)
        for name in ("rival.tar", "rival.snar", "rival.snar.0", "alone", "changed", "bupstash.key"):
            (place / name).unlink(missing_ok=True)

    def size_of_change(self, shown, directory, alone, path):
        """A row about the newest increment, against the changed files alone."""
        Run(alone)
        files, archive = path.stat().st_size, newest(directory)
        of = parts(archive)
        note = f"archive {of[0] / 1e6:.2f} MB, index {of[1] / 1e3:.0f} kB, record {of[2] / 1e3:.1f} kB; alone {files / 1e6:.2f} MB"
        self.table.value(f"1 % changed, stored, {shown}", sum(of) / files, "x", 1.15, f"{note}; {anatomy(archive)}", 2)

    def programs(self, place, tree):
        """Other programs that are there, with a first backup made by each."""
        os.environ.update(RESTIC_PASSWORD="bench", BORG_PASSPHRASE="bench", BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
        os.environ.update(RESTIC_CACHE_DIR=str(place / "restic-cache"), BORG_BASE_DIR=str(place / "borg-base"))
        restic = f"restic -q -r {place}/restic backup {tree} > /dev/null"
        borg = f"borg create {place}/borg::{{now:%s%f}} {tree} > /dev/null 2>&1"
        Run(f"restic -q -r {place}/restic init > /dev/null; {restic}")
        Run(f"borg init -e none {place}/borg > /dev/null 2>&1; {borg}")
        found = [("restic", restic, 12.0), ("borg", borg, 12.0)]
        if shutil.which("bupstash"):
            os.environ.update(BUPSTASH_KEY=str(place / "bupstash.key"), BUPSTASH_REPOSITORY=str(place / "bupstash"))
            os.environ.update(BUPSTASH_SEND_LOG=str(place / "bupstash-log"))
            bupstash = f"bupstash put -q {tree} > /dev/null"
            Run(f"bupstash new-key -o $BUPSTASH_KEY && bupstash init && {bupstash}")
            found.append(("bupstash", bupstash, 1.8))
        else:
            print("bupstash is not installed: its row is left out", flush=True)
        return found

    def increment_million(self):
        """A million files, nothing changed: time for each entry against the tree of 100,000, and memory."""
        place = self.mem or self.work
        times = {}
        for name in ("tree", "many"):
            directory, ours = self.job(place, name, "compression: {zstd: 1}", "inc_files")
            self.clear(directory, place / "rival")
            Run(ours)
            walked = subprocess.run([self.tools / "statwalk", self.work / name], capture_output=True, text=True, check=True)
            entries = int(walked.stdout.split()[0])
            report = directory / "time"
            runs = [Run(f"/usr/bin/time -v -o {report} {ours}") for _ in range(self.count + 1)][1:]
            walk = [Run(f"{self.tools}/statwalk {self.work / name} > /dev/null") for _ in range(self.count + 1)][1:]
            wall, bare = (statistics.median(r.wall for r in side) for side in (runs, walk))
            cpu, bare_cpu = (statistics.median(r.cpu for r in side) for side in (runs, walk))
            times[name] = cpu / entries
            note = f"{entries} entries, {1e6 * wall / entries:.2f} us each, CPU {cpu:.2f} s; bare walk {bare_cpu:.2f} s"
            self.table.fact(f"nothing changed, {name} : bare walk", f"{wall:.2f} s", f"{bare:.2f} s", note)
            if name == "many":
                self.table.value("the same, 1M files, peak memory", peak(report), "MiB", 160)
                size = stored(newest(directory)) / 1024
                self.table.value("the same, 1M files, stored", size, "KiB", 64)
            shutil.rmtree(directory)
        self.table.value("CPU for an entry of 1M files, to one of 100k", times["many"] / times["tree"], "x", 1.3, "", 2)

    def increment_sim(self):
        """Millions of entries that are nowhere, nothing changed and one of a thousand changed."""
        place = self.mem or self.work
        program, first = self.tools / "examples" / "simulated", None
        for entries in (1_000_000, 2_500_000, 5_000_000):
            directory, _ = self.job(place, "nowhere", "compression: {zstd: 1}", "inc_files")
            report = directory / "time"
            command = f"-c {directory}/conf start"
            full = Run(f"{program} {entries} 0 {command}")
            index = sum(p.stat().st_size for p in (directory / "backup").rglob("*.nxs.idx"))
            for changed, shown in ((0, "nothing"), (1, "0.1 %")):
                runs = [Run(f"/usr/bin/time -v -o {report} {program} {entries} {changed} {command}") for _ in range(3)]
                cpu = statistics.median(r.cpu for r in runs)
                note = f"CPU {cpu:.2f} s, {1e6 * cpu / entries:.2f} us an entry; full {full.wall:.0f} s, its index {index / entries:.1f} B an entry"
                bar = 64 + round(entries * 100 / MIB)
                self.table.value(f"{entries / 1e6} M simulated, {shown} changed, memory", peak(report), "MiB", bar, note)
                if not changed:
                    first = first or cpu / entries
                    factor = cpu / entries / first
                    self.table.value("CPU for an entry, to that of 1 M", factor, "x", 1.3, "", 2)
            shutil.rmtree(directory)

    def chain(self):
        """Four levels of ours and of `tar -g`, a percent of the files changed each day; made once."""
        if hasattr(self, "made"):
            return self.made
        place, tree = self.mem or self.work, self.work / "alive"
        directory, _ = self.job(place, "alive", "gzip: no", "inc_files")
        self.clear(directory, place / "rival.tar")
        at = self.tools / "examples" / "at"
        changed, state = [], place / "rival.snar"
        for number, day in enumerate(DAYS):
            paths = files_of(tree)
            if number:
                rewrite(paths[number::100])
                for path in paths[number + 50 :: 1000]:
                    os.rename(path, f"{path}.{number}")
                for path in paths[number + 60 :: 1000]:
                    os.remove(path)
                for path in paths[number + 70 :: 1000]:
                    Path(f"{path}.new{number}").write_bytes(os.urandom(4000))
            path = paths[number + 100 * 77]
            changed.append((path, Path(path).read_bytes()))
            Run(f"{at} {day}T03:00 -c {directory}/conf start")
            before = f"cp {state}.{number - 1} {state}.{number}; " if number else ""
            Run(f"{before}tar -c -g {state}.{number} -f {place}/rival.{number}.tar -C / {str(tree).lstrip('/')}")
        self.made = directory, at, changed
        return self.made

    def forget_chain(self):
        """Removes what `chain` made, if it did."""
        if hasattr(self, "made"):
            place = self.mem or self.work
            shutil.rmtree(self.made[0], ignore_errors=True)
            for number in range(len(DAYS)):
                for path in (place / f"rival.{number}.tar", place / f"rival.snar.{number}"):
                    path.unlink(missing_ok=True)
            del self.made

    def increment_restore(self):
        """A day of four levels, against the tree in one tar and against the four steps of `tar -g`."""
        place, tree = self.mem or self.work, self.work / "alive"
        directory, at, _ = self.chain()
        Run(f"{self.tar('alive')} > {place}/plain.tar")
        restored = [place / "restored-ours", place / "restored-rival"]
        ours = f"{at} {DAYS[-1]}T04:00 -c {directory}/conf restore bench --to {restored[0]} > /dev/null 2>&1"
        plain = f"mkdir {restored[1]}; tar xpf {place}/plain.tar -C {restored[1]}"
        rest = "; ".join(f"tar xpGf {place}/rival.{n}.tar -C {restored[1]}" for n in range(1, len(DAYS)))
        four = f"mkdir {restored[1]}; tar xpf {place}/rival.0.tar -C {restored[1]}; {rest}"
        own = [p for p in sorted((directory / "backup").rglob("*.tar"), key=lambda p: p.stat().st_mtime_ns) if not p.is_symlink()]
        rest = "; ".join(f"tar xpGf {archive} -C {restored[1]}" for archive in own[1:])
        stock = f"mkdir {restored[1]}; tar xpf {own[0]} -C {restored[1]}; {rest}"

        def before(who):
            shutil.rmtree(restored[who], ignore_errors=True)
            os.sync()

        places = "both on tmpfs" if self.mem else "on disk"
        runs = pairs(self.count, ours, plain, before)
        self.table.at_most("a day of 4 levels, 100k files : tar x", runs, 1.2, None, places)
        runs = pairs(self.count, ours, four, before)
        self.same(tree, restored[0])
        self.table.pairs("a day of 4 levels : 4 steps of tar -g's chain", runs, 6.0, None, places)
        runs = pairs(1, ours, stock, before)
        self.same(tree, restored[1])
        self.table.fact("a day of 4 levels : tar -xG over our archives", f"{runs[0][0].wall:.2f} s", f"{runs[1][0].wall:.2f} s")
        for path in restored:
            shutil.rmtree(path)
        (place / "plain.tar").unlink()

    def same(self, tree, restored):
        """Ends the program if what was restored differs, times, modes and owners included."""
        shown = subprocess.run([self.tools / "treesum", tree, f"{restored}{tree}"], capture_output=True, text=True, check=True)
        if len(set(shown.stdout.splitlines())) != 1:
            sys.exit(f"what was restored to {restored} differs from the tree")

    def increment_file(self):
        """One file of each of the four days."""
        place = self.mem or self.work
        directory, at, changed = self.chain()
        to, trace = place / "restored-one", place / "trace"
        total = sum(p.stat().st_size for p in (directory / "backup").rglob("*") if p.is_file() and not p.is_symlink())
        for day, (path, content) in zip(DAYS, changed):
            shutil.rmtree(to, ignore_errors=True)
            command = f"{at} {day}T04:00 -c {directory}/conf restore bench --path {path.lstrip('/')} --to {to}"
            Run(f"strace -f -y -qq -e trace=read,pread64,readv,preadv,mmap -o {trace} {command} > /dev/null 2>&1")
            read = calls(trace, rf"\S+\(\d+<{re.escape(str(directory))}/backup/.*= (\d+)$")
            if (to / path.lstrip("/")).read_bytes() != content:
                sys.exit("the restored file differs")
            shutil.rmtree(to)
            run = Run(f"{command} > /dev/null 2>&1")
            note = f"out of {total / MIB:.0f} MiB in four archives; indexes included; {run.wall:.2f} s"
            self.table.value(f"one file as it was on {day}", read / MIB, "MiB", 8, note)
        shutil.rmtree(to)
        trace.unlink()

    def increment_rename(self):
        """The largest directory at the top gets another name."""
        self.forget_chain()
        place, tree = self.mem or self.work, self.work / "alive"
        directory, _ = self.job(place, "alive", "gzip: no", "inc_files")
        at, state = self.tools / "examples" / "at", place / "rival.snar"
        self.clear(directory, place / "rival.tar")
        Run(f"{at} {DAYS[0]}T03:00 -c {directory}/conf start")
        Run(f"rm -f {state}; tar -c -g {state} -f {place}/rival.0.tar -C / {str(tree).lstrip('/')}")
        sizes = {path: sum(len(d) + len(f) for _, d, f in os.walk(path)) for path in tree.iterdir() if path.is_dir()}
        old = max(sizes, key=sizes.get)
        new = old.with_name("renamed")
        restored = [place / "restored-ours", place / "restored-rival"]
        old.rename(new)
        try:
            run = Run(f"{at} {DAYS[1]}T03:00 -c {directory}/conf start")
            rival = Run(f"tar -c -g {state} -f {place}/rival.1.tar -C / {str(tree).lstrip('/')}")
            size, theirs = stored(newest(directory)) / 1e6, (place / "rival.1.tar").stat().st_size / 1e6
            note = f"{sizes[old]} of {sum(sizes.values())} entries in it; stored {size:.1f} MB, rival {theirs:.1f} MB"
            self.table.fact("top directory renamed, 100k files : tar -g", f"{run.wall:.2f} s", f"{rival.wall:.2f} s", note)
            for path in restored:
                shutil.rmtree(path, ignore_errors=True)
            run = Run(f"{at} {DAYS[1]}T04:00 -c {directory}/conf restore bench --to {restored[0]} > /dev/null 2>&1")
            own = [p for p in sorted((directory / "backup").rglob("*.tar"), key=lambda p: p.stat().st_mtime_ns) if not p.is_symlink()]
            stock = Run(f"mkdir {restored[1]}; tar xpf {own[0]} -C {restored[1]}; tar xpGf {own[1]} -C {restored[1]}")
            for path in restored:
                self.same(tree, path)
            self.table.fact("the same, restored : tar -xG over our archives", f"{run.wall:.2f} s", f"{stock.wall:.2f} s", "both equal to the tree")
        finally:
            new.rename(old)
        for path in (*restored, directory):
            shutil.rmtree(path)
        for path in (place / "rival.0.tar", place / "rival.1.tar", state):
            path.unlink()


def peak(report):
    """MiB of the report of /usr/bin/time."""
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", report.read_text()).group(1)) / 1024
