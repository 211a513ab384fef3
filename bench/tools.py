"""What all measurements share: commands run in turn, a table of the results, bytes counted by strace.

A pair is one run of ours and one of the rival, whoever is first alternating; the ratio of a row is the median of the
ratios of its pairs. What is removed or synced between runs is not timed. Only the standard library is used.
"""

import os
import re
import statistics
import subprocess
import sys
import time

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
        start = time.perf_counter()
        process = subprocess.Popen(["bash", "-o", "pipefail", "-c", command])
        _, status, usage = os.wait4(process.pid, 0)
        self.wall = time.perf_counter() - start
        # That of the children that it waited for, too.
        self.cpu = usage.ru_utime + usage.ru_stime
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

    def at_most(self, work, runs, bar, aim=None, note=""):
        """As `pairs`, where ours may take longer by a factor."""
        ours, theirs = runs
        factor = statistics.median(o.wall / t.wall for o, t in zip(ours, theirs))
        cpu = statistics.median(o.cpu / t.cpu for o, t in zip(ours, theirs))
        wall = [statistics.median(r.wall for r in side) for side in runs]
        used = [statistics.median(r.cpu for r in side) for side in runs]
        bars = f"<= {bar:g}" + (f" ({aim:g})" if aim else "")
        note = f"CPU {used[0]:.2f} s, rival {used[1]:.2f} s, factor {cpu:.2f}; {note}".rstrip("; ")
        self.line(work, f"{wall[0]:.2f} s", f"{wall[1]:.2f} s", f"{factor:.2f}", bars, factor <= bar, note)

    def fact(self, work, ours, theirs="", note=""):
        """A figure without a bar."""
        print(f"{work:44} {ours:>10} {theirs:>10} {'':7}  {'':>9}  {'':7} {note}", flush=True)

    def value(self, work, value, unit, bar, note="", digits=1):
        self.line(work, f"{value:.{digits}f} {unit}", "", "", f"<= {bar} {unit}", value <= bar, note)

    def line(self, work, ours, theirs, ratio, bar, is_met, note):
        self.missed += not is_met
        verdict = "ok" if is_met else "MISSED"
        print(f"{work:44} {ours:>10} {theirs:>10} {ratio:>7}  {bar:>9}  {verdict:7} {note}", flush=True)


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
