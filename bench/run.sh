#!/usr/bin/env bash
# Measures the backup and the restore of files against stock tools, side by side in one run, and prints a table.
#
#   bench/run.sh [NAME...]     names: gzip zstd cold restore one-file memory big increment increment-million
#                              increment-sim increment-restore increment-file increment-rename databases
#                              scp (none: all these) year
#
# NXS_BENCH_DIR    where trees and archives lie; kept (default: a new directory in /var/tmp, removed at the end)
# NXS_BENCH_PAIRS  pairs of every measurement (default 5)
# NXS_BENCH_YEAR   settings of `year`: --files N --dirs N --days N --first DATE
# NXS_BENCH_BYTES  size of the file that storages get (default 1 GiB)
# NXS_BENCH_BIN    measure this program instead of the one that is built
#
# As root, archives and restored trees lie on a tmpfs as well, and caches can be dropped. See bench/README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

install_tools() {
  local missing=()
  command -v pigz > /dev/null || missing+=(pigz)
  command -v zstd > /dev/null || missing+=(zstd)
  command -v strace > /dev/null || missing+=(strace)
  [ -x /usr/bin/time ] || missing+=(time)
  command -v restic > /dev/null || missing+=(restic)
  command -v borg > /dev/null || missing+=(borgbackup)
  case " ${names[*]} " in *" databases "*)
    command -v mariadbd > /dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
    command -v mariadb-backup > /dev/null || missing+=(mariadb-backup)
    command -v pg_basebackup > /dev/null || missing+=(postgresql)
  esac
  case " ${names[*]} " in *" scp "*)
    [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
    command -v sftp > /dev/null || missing+=(openssh-client)
  esac
  [ ${#missing[@]} = 0 ] && return
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
}

# make_tree NAME SETTING...: once for each work directory.
make_tree() {
  [ -e "$work/$1.made" ] && return
  rm -rf "${work:?}/$1"
  "$tools/mktree" "$work/$1" "${@:2}"
  touch "$work/$1.made"
}

names=("$@")
[ ${#names[@]} = 0 ] && names=(gzip zstd cold restore one-file memory big increment increment-million
  increment-sim increment-restore increment-file increment-rename databases scp)
for name in "${names[@]}"; do
  case $name in
    gzip | zstd | cold | restore | one-file | memory | big | year | databases | scp) ;;
    increment | increment-million | increment-sim | increment-restore | increment-file | increment-rename) ;;
    *) echo "unknown benchmark: $name" >&2; exit 2 ;;
  esac
done

install_tools
tools=${CARGO_TARGET_DIR:-$here/target}/release
# One command for both: the same features, so that nothing is built twice.
cargo build --release --locked --manifest-path "$here/Cargo.toml" -p nxs-backup -p nxs-testkit
cargo build --release --locked --manifest-path "$here/Cargo.toml" -p nxs-backup --examples
NXS_BENCH_BIN=${NXS_BENCH_BIN:-$tools/nxs-backup}

work=${NXS_BENCH_DIR:-}
mounted=
finish() {
  if [ -n "$mounted" ]; then umount "$mounted"; fi
  if [ -z "${NXS_BENCH_DIR:-}" ] && [ -n "$work" ]; then rm -rf "$work"; fi
}
trap finish EXIT
[ -n "$work" ] || work=$(mktemp -d /var/tmp/nxs-bench.XXXXXX)
mkdir -p "$work"
work=$(cd "$work" && pwd -P)

mem=
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$work/mem"
  mount -t tmpfs -o size=90%,mode=0700 nxs-bench "$work/mem"
  mounted=$work/mem
  mem=$work/mem
fi

measured=()
for name in "${names[@]}"; do
  case $name in
    year) python3 "$here/bench/year.py" --tools "$tools" --work "${mem:-$work}" --csv "$here/bench/year.csv" \
      --svg "$here/docs/performance.svg" ${NXS_BENCH_YEAR:-} ;;
    *) measured+=("$name") ;;
  esac
  case $name in
    gzip | zstd | cold | restore | one-file | memory | increment-million)
      make_tree tree files=100000 dirs=37000 mean=4096 seed=1 ;;&
    memory | increment-million) make_tree many files=1000000 dirs=200000 mean=512 seed=2 ;;
    big) make_tree big files=20 dirs=0 size=200000000 seed=3 ;;
    increment | increment-restore | increment-file | increment-rename)
      make_tree alive files=100000 dirs=37000 mean=4096 seed=1 ;;
  esac
done
[ ${#measured[@]} = 0 ] && exit

# No exec: the trap has to run.
python3 "$here/bench/measure.py" --bin "$NXS_BENCH_BIN" --tools "$tools" --work "$work" --mem "$mem" \
  --pairs "${NXS_BENCH_PAIRS:-5}" "${measured[@]}"
