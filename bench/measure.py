"""Runs pairs of commands in turn and prints medians and ratios. Called by run.sh, which makes the trees.

A pair is one run of ours and one of the rival, whoever is first alternating; the ratio of a row is the median of the
ratios of its pairs. What is removed or synced between runs is not timed. Only the standard library is used.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20

CONFIG = """\
main:
  server_name: bench
  admin_mail: root@localhost
  client_mail: ['']
  mail_from: root@localhost
  level_message: error
  log_file: {dir}/log
  nice: 0
  ionice: none
  state_dir: {dir}/state
  lock_file: {dir}/lock
jobs:
- job: bench
  type: {kind}
  sources:
  - target: ["{tree}"]
    {compression}
  storages:
  - storage: local
    enable: yes
    backup_dir: {dir}/backup{store}
"""

STORE = "\n    store: {days: 6, weeks: 4, month: 6}"


class Run:
    """What one command took."""

    def __init__(self, command):
        before = os.times()
        start = time.perf_counter()
        process = subprocess.Popen(["bash", "-o", "pipefail", "-c", command])
        _, status, usage = os.wait4(process.pid, 0)
        self.wall = time.perf_counter() - start
        after = os.times()
        self.cpu = (after.children_user - before.children_user) + (after.children_system - before.children_system)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"ended with {process.returncode}: {command}")


def pairs(count, ours, theirs, before):
    """Runs both `count` times in turn, after one run each to warm up; `before` comes before every run."""
    runs = ([], [])
    for number in range(count + 1):
        for who in (0, 1) if number % 2 else (1, 0):
            before(who)
            run = Run((ours, theirs)[who])
            if number > 0:
                runs[who].append(run)
    return runs


class Table:
    def __init__(self):
        self.missed = 0
        print(f"{'work':44} {'ours':>10} {'rival':>10} {'ratio':>7}  {'bar':>9}  {'':7} note", flush=True)

    def pairs(self, work, runs, bar, aim=None, note=""):
        ours, theirs = runs
        ratio = statistics.median(t.wall / o.wall for o, t in zip(ours, theirs))
        cpu = statistics.median(t.cpu / o.cpu for o, t in zip(ours, theirs))
        wall = [statistics.median(r.wall for r in side) for side in runs]
        used = [statistics.median(r.cpu for r in side) for side in runs]
        bars = f">= {bar:.1f}" + (f" ({aim:.1f})" if aim else "")
        note = f"CPU {used[0]:.2f} s, rival {used[1]:.2f} s, ratio {cpu:.2f}; {note}".rstrip("; ")
        self.line(work, f"{wall[0]:.2f} s", f"{wall[1]:.2f} s", f"{ratio:.2f}", bars, ratio >= bar, note)

    def value(self, work, value, unit, bar, note="", rival=""):
        self.line(work, f"{value:.1f} {unit}", rival, "", f"<= {bar} {unit}", value <= bar, note)

    def line(self, work, ours, theirs, ratio, bar, is_met, note):
        self.missed += not is_met
        verdict = "ok" if is_met else "MISSED"
        print(f"{work:44} {ours:>10} {theirs:>10} {ratio:>7}  {bar:>9}  {verdict:7} {note}", flush=True)


class Bench:
    def __init__(self, options):
        self.bin = options.bin
        self.work = Path(options.work)
        self.mem = Path(options.mem) if options.mem else None
        self.count = options.pairs
        self.table = Table()

    def places(self):
        """Where archives are written: the disk, and memory if there is one."""
        yield "disk", self.work
        if self.mem:
            yield "tmpfs", self.mem

    def job(self, place, tree, compression, kind="desc_files"):
        """A configuration of its own, and the command that makes a backup by it."""
        directory = place / "ours"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        config = directory / "conf"
        store = STORE if kind == "desc_files" else ""
        text = CONFIG.format(dir=directory, tree=self.work / tree, compression=compression, kind=kind, store=store)
        config.write_text(text)
        config.chmod(0o600)
        return directory, f"{self.bin} -c {config} start"

    def clear(self, directory, rival):
        for path in (directory / "backup", directory / "state"):
            shutil.rmtree(path, ignore_errors=True)
        rival.unlink(missing_ok=True)
        os.sync()

    def archive(self, directory):
        found = [p for p in (directory / "backup").rglob("*.tar*") if not p.is_symlink() and ".nxs" not in p.name]
        return max(found, key=lambda p: p.stat().st_size)

    def tar(self, tree):
        return f"tar c -C / {str(self.work / tree).lstrip('/')}"

    def backup(self, name, tree, compression, packer, suffix, bar, aim):
        for where, place in self.places():
            directory, ours = self.job(place, tree, compression)
            rival = place / f"rival.tar{suffix}"
            theirs = f"{self.tar(tree)} | {packer} > {rival}; sync {rival}"
            sizes = [0, 0]

            def before(who):
                # What the last run left is looked at before it goes.
                if rival.exists():
                    sizes[1] = rival.stat().st_size
                if (directory / "backup").exists():
                    sizes[0] = self.archive(directory).stat().st_size
                self.clear(directory, rival)

            runs = pairs(self.count, ours, theirs, before)
            before(0)
            note = f"stored {sizes[0] / 1e6:.1f} MB, rival {sizes[1] / 1e6:.1f} MB, {100 * sizes[0] / sizes[1] - 100:+.1f} %"
            self.table.pairs(f"{name}, to {where}", runs, bar, aim, note)
            shutil.rmtree(directory)

    def gzip(self):
        self.backup("backup 100k files, gzip: yes : tar | pigz", "tree", "gzip: yes", "pigz", ".gz", 1.5, 2.0)

    def zstd(self):
        packer = "zstd -q -T0 -3"
        self.backup("backup 100k files, zstd 3 : tar | zstd -T0", "tree", "compression: {zstd: 3}", packer, ".zst", 1.0, 1.2)

    def big(self):
        packer = "zstd -q -T0 -3"
        self.backup("backup 20 x 200 MB, zstd 3 : tar | zstd -T0", "big", "compression: {zstd: 3}", packer, ".zst", 1.0, 1.2)
        self.backup("backup 20 x 200 MB, gzip: yes : tar | pigz", "big", "gzip: yes", "pigz", ".gz", 1.5, 2.0)

    def cold(self):
        if not self.mem:
            return self.skip("cold", "only root can drop caches")
        directory, ours = self.job(self.mem, "tree", "gzip: no")
        rival = self.mem / "rival.tar"

        def before(who):
            self.clear(directory, rival)
            Path("/proc/sys/vm/drop_caches").write_text("3\n")

        runs = pairs(self.count, ours, f"{self.tar('tree')} > {rival}", before)
        self.table.pairs("backup 100k files, cold cache : tar c", runs, 2.0, None, "not compressed, to tmpfs")
        shutil.rmtree(directory)

    def restore(self):
        place = self.mem or self.work
        restored = [place / "restored-ours", place / "restored-rival"]
        cases = [
            ("zstd 3", "compression: {zstd: 3}", "zstd -q -T0 -3", "zstd -dcq", "zstd -d | tar x"),
            ("gzip", "gzip: yes", "pigz", "pigz -dc", "pigz -d | tar x"),
            ("plain", "gzip: no", "cat", "cat", "cat | tar x"),
        ]
        for label, compression, packer, unpacker, shown in cases:
            directory, backup = self.job(place, "tree", compression)
            rival = place / "rival.tar.z"
            self.clear(directory, rival)
            Run(backup)
            Run(f"{self.tar('tree')} | {packer} > {rival}")
            ours = f"{self.bin} -c {directory}/conf restore bench --to {restored[0]} > /dev/null 2>&1"
            theirs = f"mkdir {restored[1]}; {unpacker} {rival} | tar xp -C {restored[1]}"

            def before(who):
                shutil.rmtree(restored[who], ignore_errors=True)
                os.sync()

            runs = pairs(self.count, ours, theirs, before)
            tree = str(self.work / "tree")
            same = subprocess.run(["diff", "-r", "--no-dereference", tree, f"{restored[0]}{tree}"], stdout=subprocess.DEVNULL)
            if same.returncode != 0:
                sys.exit("what was restored differs from the tree")
            note = "both on tmpfs" if self.mem else "on disk"
            self.table.pairs(f"restore 100k files, {label} : {shown}", runs, 1.0, None, note)
            for path in restored + [directory]:
                shutil.rmtree(path)
            rival.unlink()

    def one_file(self):
        place = self.mem or self.work
        paths = sorted(p for p in (self.work / "tree").rglob("*.php"))
        wanted = paths[len(paths) // 2]
        for label, compression in (("zstd 3", "compression: {zstd: 3}"), ("gzip", "gzip: yes")):
            directory, backup = self.job(place, "tree", compression)
            self.clear(directory, place / "rival.tar")
            Run(backup)
            to, trace = place / "restored-one", place / "trace"
            command = f"{self.bin} -c {directory}/conf restore bench --path {str(wanted).lstrip('/')} --to {to}"
            shutil.rmtree(to, ignore_errors=True)
            Run(f"strace -f -y -qq -e trace=read,pread64,readv,preadv,mmap -o {trace} {command} > /dev/null 2>&1")
            read = calls(trace, rf"\S+\(\d+<{re.escape(str(directory))}/backup/.*= (\d+)$")
            if (to / str(wanted).lstrip("/")).read_bytes() != wanted.read_bytes():
                sys.exit("the restored file differs")
            shutil.rmtree(to)
            run = Run(f"{command} > /dev/null 2>&1")
            total = sum(p.stat().st_size for p in (directory / "backup").rglob("*") if p.is_file() and not p.is_symlink())
            note = f"out of {total / MIB:.0f} MiB; all that is read of the storage, index included; {run.wall:.2f} s"
            self.table.value(f"one file out of the archive, {label}", read / MIB, "MiB", 8, note)
            trace.unlink()
            shutil.rmtree(to)
            shutil.rmtree(directory)

    def increment(self):
        """Nothing changed, then one file in a hundred, against the parent's full; caches warm."""
        place = self.mem or self.work
        directory, ours = self.job(place, "tree", "gzip: no", "inc_files")
        self.clear(directory, place / "rival.tar")
        tree = self.work / "tree"
        Run(ours)
        rival, state = place / "rival.tar", place / "rival.snar"
        Run(f"tar -c -g {state}.0 -f {rival} -C / {str(tree).lstrip('/')}")
        tar = f"cp {state}.0 {state}; tar -c -g {state} -f {rival} -C / {str(tree).lstrip('/')}"
        os.environ.update(RESTIC_PASSWORD="bench", BORG_PASSPHRASE="bench", BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
        os.environ.update(RESTIC_CACHE_DIR=str(place / "restic-cache"), BORG_BASE_DIR=str(place / "borg-base"))
        restic = f"restic -q -r {place}/restic backup {tree} > /dev/null"
        borg = f"borg create {place}/borg::{{now:%s%f}} {tree} > /dev/null 2>&1"
        Run(f"restic -q -r {place}/restic init > /dev/null; {restic}")
        Run(f"borg init -e none {place}/borg > /dev/null 2>&1; {borg}")
        newest = lambda: max((directory / "backup").rglob("*.tar"), key=lambda p: p.stat().st_mtime_ns)
        stored = lambda p: sum(q.stat().st_size for q in p.parent.glob(p.name + "*"))
        for shown, theirs, bar in (("tar -g", tar, 2.5), ("restic", restic, 12.0), ("borg", borg, 12.0)):
            runs = pairs(self.count, ours, theirs, lambda who: None)
            note = f"stored {stored(newest()) / 1024:.1f} KiB, record and index included"
            self.table.pairs(f"nothing changed in 100k files : {shown}", runs, bar, None, note)
        files = sorted(p for p in tree.rglob("*") if p.is_file() and not p.is_symlink())
        changed = files[::100]
        kept = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in changed}
        for path in changed:
            path.write_bytes(os.urandom(len(kept[path][0])))
        (place / "changed").write_text("\n".join(str(p).lstrip("/") for p in changed))
        Run(f"tar -c -f {place}/alone.tar -C / -T {place}/changed")
        runs = pairs(self.count, ours, tar, lambda who: None)
        alone = (place / "alone.tar").stat().st_size
        size = stored(newest())
        note = f"stored {size / 1e6:.1f} MB, the changed files alone {alone / 1e6:.1f} MB, all by tar -g {rival.stat().st_size / 1e6:.1f} MB"
        self.table.pairs("1 % changed of 100k files : tar -g", runs, 2.5, None, note)
        self.table.value("1 % changed, stored to the files alone", size / alone, "x", 1.15, "")
        for path, (data, mtime) in kept.items():
            path.write_bytes(data)
            os.utime(path, ns=(mtime, mtime))
        for name in ("restic", "borg", "restic-cache", "borg-base", "ours"):
            shutil.rmtree(place / name, ignore_errors=True)
        for name in ("rival.tar", "rival.snar", "rival.snar.0", "alone.tar", "changed"):
            (place / name).unlink(missing_ok=True)

    def memory(self):
        trees = [("100k files", "tree"), ("1M files", "many")]
        if (self.work / "big.made").exists():
            trees.append(("20 x 200 MB", "big"))
        for shown, tree in trees:
            for label, compression in (("zstd 3", "compression: {zstd: 3}"), ("gzip", "gzip: yes")):
                directory, ours = self.job(self.work, tree, compression)
                self.clear(directory, self.work / "rival.tar")
                report = directory / "time"
                run = Run(f"/usr/bin/time -v -o {report} {ours}")
                kib = int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", report.read_text()).group(1))
                self.table.value(f"peak memory, {shown}, {label}", kib / 1024, "MiB", 128, f"{run.wall:.1f} s")
                shutil.rmtree(directory)
        directory, ours = self.job(self.work, "tree", "compression: {zstd: 3}")
        trace = self.work / "trace"
        Run(f"strace -f -y -qq -e trace=write,pwrite64,writev,pwritev,sendfile,copy_file_range -o {trace} {ours}")
        everything = calls(trace, r"\S+\(\d+</.*= (\d+)$")
        storage = calls(trace, rf"\S+\(\d+<{re.escape(str(directory))}/backup/.*= (\d+)$")
        kib = (everything - storage) / 1024
        kept = sum(p.stat().st_size for p in (directory / "backup").rglob("*") if p.is_file() and not p.is_symlink())
        note = f"written outside the storage (log, state); to the storage {storage / MIB:.1f} MiB, kept there {kept / MIB:.1f} MiB"
        self.table.value("temporary disk", kib + (storage - kept) / 1024, "KiB", 64, note)
        trace.unlink()
        shutil.rmtree(directory)

    def skip(self, name, why):
        print(f"{name:44} left out: {why}", flush=True)


def calls(trace, pattern):
    """The sum of what the calls that fit the pattern returned. Calls cut in two are joined first."""
    pending, total, regex = {}, 0, re.compile(pattern)
    with open(trace, errors="replace") as lines:
        for line in lines:
            thread, _, call = line.rstrip("\n").partition(" ")
            call = call.lstrip()
            if call.endswith("<unfinished ...>"):
                pending[thread] = call.removesuffix("<unfinished ...>")
                continue
            if call.startswith("<..."):
                call = pending.pop(thread, "") + call.partition("resumed>")[2]
            found = regex.match(call)
            if found and not call.startswith("mmap"):
                total += int(found.group(1))
            elif found:
                sys.exit(f"a file of the storage is mapped, which cannot be counted: {call}")
    return total


def main():
    parser = argparse.ArgumentParser()
    for name in ("--bin", "--work", "--mem"):
        parser.add_argument(name, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    bench = Bench(options)
    for name in options.names:
        getattr(bench, name.replace("-", "_"))()
    if bench.table.missed:
        sys.exit(f"{bench.table.missed} bars missed")


main()
