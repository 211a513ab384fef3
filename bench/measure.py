"""Backups and restores of whole trees against stock tools. Called by run.sh, which makes the trees.

How pairs are run and counted is said in tools.py; increments have a file of their own.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from databases import Databases
from increments import Increments
from storages import Storages
from tools import CONFIG, MIB, STORE, Run, Table, calls, pairs


class Bench(Increments, Databases, Storages):
    def __init__(self, options):
        self.bin = options.bin
        self.tools = Path(options.tools)
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

    def backup(self, name, tree, compression, packer, suffix, bar, aim, places=None):
        for where, place in places or self.places():
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
        self.backup("backup 20 x 200 MB, gzip: yes : tar | pigz", "big", "gzip: yes", "pigz", ".gz", 1.5, 2.0, list(self.places())[:1])

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


def main():
    parser = argparse.ArgumentParser()
    for name in ("--bin", "--tools", "--work", "--mem"):
        parser.add_argument(name, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    bench = Bench(options)
    for name in options.names:
        getattr(bench, name.replace("-", "_"))()
    bench.forget_chain()
    if bench.table.missed:
        sys.exit(f"{bench.table.missed} bars missed")


main()
