#!/usr/bin/env python3
"""Reads a backup of files - record, index, archive - by docs/format.md alone, and holds every part against the others.

    read.py ARCHIVE            checks all, prints one JSON object a line: the record, then each entry of the index
    read.py ARCHIVE PATH       writes the content of one file to stdout, reading only the frames that hold it

Needs the standard library, and `zstd` for zstd. Any breach of the format ends it with a message and status 1.
Text is latin-1, so that every byte is one character.
"""

import gzip
import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
from collections import namedtuple

KINDS = ["file", "dir", "symlink", "hardlink", "fifo", "char", "block"]
STATES = ["sound", "racy", "gap"]
PURE_BLAKE3_LIMIT = 200_000  # bytes; beyond that a hash in Python takes too long


class Broken(Exception):
    pass


def need(condition, *what):
    if not condition:
        raise Broken(" ".join(map(str, what)))


# ---- BLAKE3 (from its specification; hashes only, no keys, 32 bytes) ----

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
MASK = 0xFFFFFFFF


def compress(chaining, block, counter, length, flags):
    m = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*chaining, *IV[:4], counter & MASK, counter >> 32, length, flags]
    for round_number in range(7):
        for i, (a, b, c, d) in enumerate(QUARTERS):
            for word, first, second in ((m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & MASK
                x = v[d] ^ v[a]
                v[d] = (x >> first | x << (32 - first)) & MASK
                v[c] = (v[c] + v[d]) & MASK
                x = v[b] ^ v[c]
                v[b] = (x >> second | x << (32 - second)) & MASK
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3(data):
    def chunk(part, counter, root):
        blocks = [part[i:i + 64] for i in range(0, len(part), 64)] or [b""]
        chaining = IV
        for i, block in enumerate(blocks):
            flags = CHUNK_START * (i == 0) | (CHUNK_END | root) * (i == len(blocks) - 1)
            chaining = compress(chaining, block, counter, len(block), flags)
        return chaining

    def tree(first, count, root):
        if count <= 1:
            return chunk(data[first * 1024:(first + 1) * 1024], first, root)
        left = 1 << (count - 1).bit_length() - 1
        words = tree(first, left, 0) + tree(first + left, count - left, 0)
        return compress(IV, struct.pack("<16I", *words), 0, 64, PARENT | root)

    return struct.pack("<8I", *tree(0, -(-len(data) // 1024), ROOT))


# ---- record ----

def read_record(raw):
    need(len(raw) <= 256 * 1024, "record is too large")
    line, newline, _ = raw.partition(b"\n")
    need(newline, "record was cut")

    def once(pairs):
        need(len({k for k, _ in pairs}) == len(pairs), "a field of the record stands twice")
        return dict(pairs)

    record = json.loads(line.decode("utf-8"), object_pairs_hook=once)
    need(record["format"] == 1, "format of the record")
    need(re.fullmatch("[0-9a-f]{32}", record["id"]), "id")
    for name in ("archive", "index"):
        for digest in ("blake3", "sha256"):
            need(re.fullmatch("[0-9a-f]{64}", record[name][digest]), name, digest)
    need(record["archive"]["bytes"] == record["stored_bytes"], "stored_bytes")
    need(set(record["periods"]) <= {"daily", "weekly", "monthly"}, "periods")
    need(record["completeness"] in ("complete", "gaps"), "completeness")
    return record


# ---- frames ----

def decompress(codec, stored):
    if codec == "none":
        return stored
    if codec == "gzip":
        return gzip.decompress(stored)
    return subprocess.run(["zstd", "-dcq"], input=stored, stdout=subprocess.PIPE, check=True).stdout


def check_hash(data, expected, what):
    if len(data) <= PURE_BLAKE3_LIMIT:
        need(blake3(data)[:len(expected)] == expected, "BLAKE3 of", what)


# ---- index ----

class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        need(self.at + length <= len(self.data), "a block ends too early")
        self.at += length
        return self.data[self.at - length:self.at]

    def byte(self):
        return self.take(1)[0]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def varint(self, limit=2**64 - 1):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            need(shift < 70, "a number is too long")
        need(value <= limit, "a number is too large")
        return value

    def difference(self, old):
        zigzag = self.varint()
        return (old + ((zigzag >> 1) ^ -(zigzag & 1))) % 2**64

    def front(self, before):
        shared, length = self.varint(65535), self.varint(65535)
        need(shared <= len(before), "a path shares too much")
        return before[:shared] + self.take(length)

    def end(self, what):
        need(self.at == len(self.data), what, "has bytes left")


def path_key(path):
    return path.split(b"/")


def signed(value):
    return value - 2**64 if value >= 2**63 else value


Header = namedtuple("Header", "id codec level plain stored entries files dirs frames flags root")
Frame = namedtuple("Frame", "stored_offset stored plain_offset plain hash")
FIELDS = "path kind state mode uid gid size mtime ctime ino offset stored link major minor"
Entry = namedtuple("Entry", FIELDS)


class Index:
    def __init__(self, raw):
        self.raw, self.plain_bytes = raw, 0
        foot = Cursor(raw[-48:])
        need((foot.number("I"), foot.number("I")) == (0x184D2A5B, 40), "footer")
        need(foot.take(8) == b"nxsidx\r\n", "magic of the footer")
        need((foot.number("H"), foot.number("H")) == (1, 0), "version")
        length, offset, digest = foot.number("I"), foot.number("Q"), foot.take(16)
        need(offset + length + 48 == len(raw), "place of the directory")
        check_hash(raw[offset:offset + length], digest, "the directory")
        blocks = self.directory(self.block(offset, length), offset)
        kinds = [kind for kind, *_ in blocks]
        need(kinds[0] == 1 and kinds == sorted(kinds) and kinds.count(1) == 1, "order of blocks")
        self.header = self.read_header(self.block(*blocks[0][1:3]))
        self.entries, self.frames = [], []
        for kind, start, stored, count, key in blocks[1:]:
            if kind == 2:
                self.entries += self.read_entries(self.block(start, stored), count, key)
            else:
                self.frames += self.read_frames(self.block(start, stored), count, key)
        self.check()

    def block(self, offset, length):
        plain = decompress("zstd", self.raw[offset:offset + length])
        self.plain_bytes += len(plain)
        return plain

    @staticmethod
    def directory(plain, end):
        c, blocks, offset, path = Cursor(plain), [], 0, b""
        need(c.byte() == 4, "kind of the directory")
        for _ in range(c.varint()):
            kind, stored, count, key = c.byte(), c.varint(2**32 - 1), c.varint(), None
            need(kind in (1, 2, 3) and stored > 0 and (count == 0) == (kind == 1), "block in the directory")
            if kind == 2:
                key = path = c.front(path)
            elif kind == 3:
                key = c.varint()
                need(count <= 4096, "frames in a block")
            blocks.append((kind, offset, stored, count, key))
            offset += stored
        c.end("the directory")
        need(offset == end, "blocks do not reach to the directory")
        return blocks

    @staticmethod
    def read_header(plain):
        c = Cursor(plain)
        need(c.byte() == 1 and c.take(8) == b"nxs-idx\n" and c.number("H") == 1, "header")
        identity, codec, level = c.take(16).hex(), ["none", "gzip", "zstd"][c.byte()], c.byte()
        numbers = [c.number("Q") for _ in range(6)]
        flags = c.number("H")
        need(flags & ~3 == 0, "flags of the header")
        root = c.take(c.number("I"))
        c.end("the header")
        return Header(identity, codec, level, *numbers, flags, root)

    @staticmethod
    def read_entries(plain, count, first_path):
        c = Cursor(plain)
        need(c.byte() == 2 and c.varint() == count, "entry block")
        col = [Cursor(c.take(c.varint())) for _ in range(16)]
        c.end("an entry block")
        entries, path, mtime, ctime, ino, end = [], b"", (0, 0), (0, 0), 0, 0
        owner, overhead = {}, {}
        for number in range(count):
            operation = col[0].byte()
            need(operation < 3, "operation")
            shared, length = col[3].varint(65535), col[3].varint(65535)
            need(shared <= len(path) and (number > 0 or shared == 0), "shared bytes")
            path = path[:shared] + col[4].take(length)
            need(number > 0 or path == first_path, "first path")
            if operation > 0:
                none = (0, 0)
                entries.append(Entry(path, ["", "removed", "missing"][operation], "", 0, 0, 0, 0, none, none, 0,
                                     0, 0, b"", 0, 0))
                continue
            shape, same = col[1].byte(), col[2].byte()
            kind, state = shape & 7, shape >> 3 & 3
            need(kind < 7 and state < 3 and not shape & 0x20, "shape")
            if not same & 0x01:
                owner[kind] = [col[5].varint(2**32 - 1) for _ in range(3)]
            mode, uid, gid = owner.setdefault(kind, [0, 0, 0])
            size = col[6].varint()
            if not same & 0x02:
                mtime = (signed(col[7].difference(mtime[0])), 0 if same & 0x04 else col[8].number("I"))
            if same & 0x08:
                ctime = mtime
            elif not same & 0x10:
                ctime = (signed(col[9].difference(ctime[0])), col[10].number("I"))
            need(mtime[1] < 10**9 and ctime[1] < 10**9, "nanoseconds")
            ino = (ino + 1) % 2**64 if same & 0x20 else col[11].difference(ino)
            offset = end if same & 0x40 else col[12].difference(end)
            if not same & 0x80:
                overhead[kind] = col[13].difference(overhead.get(kind, 0))
            stored = (overhead.setdefault(kind, 0) + (size + 511 & -512)) % 2**64
            end = (offset + stored) % 2**64
            link = col[14].take(col[14].varint(65535)) if shape & 0x40 else b""
            major, minor = (col[15].varint(2**32 - 1), col[15].varint(2**32 - 1)) if shape & 0x80 else (0, 0)
            entries.append(Entry(path, KINDS[kind], STATES[state], mode, uid, gid, size, mtime, ctime, ino,
                                 offset, stored, link, major, minor))
        for column in col:
            column.end("a column")
        return entries

    @staticmethod
    def read_frames(plain, count, first_plain):
        c = Cursor(plain)
        need(c.byte() == 3 and c.varint() == count, "frame table")
        stored_offset, plain_offset = c.varint(), c.varint()
        need(plain_offset == first_plain, "first frame of a block")
        stored = [c.varint(17 << 20) for _ in range(count)]
        lengths = [c.varint(16 << 20) for _ in range(count)]
        frames = []
        for s, p in zip(stored, lengths):
            frames.append(Frame(stored_offset, s, plain_offset, p, c.take(16)))
            stored_offset += s
            plain_offset += p
        c.end("a frame table")
        return frames

    def check(self):
        h, paths = self.header, [path_key(e.path) for e in self.entries]
        need(all(a < b for a, b in zip(paths, paths[1:])), "order of entries")
        need(len(self.entries) == h.entries and len(self.frames) == h.frames, "counts of the header")
        need(h.files == sum(e.kind in ("file", "hardlink") for e in self.entries), "files of the header")
        need(h.dirs == sum(e.kind == "dir" for e in self.entries), "dirs of the header")
        stored = plain = 0
        for f in self.frames:
            need((f.stored_offset, f.plain_offset) == (stored, plain), "frames do not lie end to end")
            stored, plain = stored + f.stored, plain + f.plain
        is_streamed = h.flags & 2 and not self.frames
        need(is_streamed or (h.stored, h.plain) == (stored, plain), "sums of the frame table")


# ---- archive ----

def octal(field):
    need(re.fullmatch(rb"[0-7]+\0 ?", field), "number field", field)
    return int(field.rstrip(b"\0 "), 8)


def moment(text):
    sign, whole, fraction = re.fullmatch(rb"(-?)(\d+)(?:\.(\d{1,9}))?", text).groups()
    nanos = int(whole) * 10**9 + int((fraction or b"0").ljust(9, b"0"))
    return divmod(-nanos if sign else nanos, 10**9)


def read_member(raw):
    """One member, whole: what the archive says of it, and its content."""
    need(raw[156:157] == b"x" and raw[:15] == b"././@PaxHeader\0", "a member begins with an extended header")
    length = octal(raw[124:136])
    records, left = [], raw[512:512 + length]
    while left:
        size = int(left[:left.index(b" ")])
        keyword, value = left[left.index(b" ") + 1:size - 1].split(b"=", 1)
        need(left[size - 1:size] == b"\n", "end of a record")
        records.append((keyword, value))
        left = left[size:]
    order = ["GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.name", "GNU.sparse.realsize", "path", "linkpath",
             "uid", "gid", "uname", "gname", "mtime", "ctime", "comment", "SCHILY.acl.access", "SCHILY.acl.default",
             "SCHILY.xattr.", "size"]
    places = [next(i for i, o in enumerate(order) if k.decode("latin-1").startswith(o)) for k, _ in records]
    need(places == sorted(places), "order of records", [k for k, _ in records])
    pax = dict(records)
    head = raw[512 + (length + 511 & -512):][:512]
    need(head[257:265] == b"ustar\x0000", "magic")
    need(octal(head[148:156]) == sum(head[:148]) + 8 * 32 + sum(head[156:]), "checksum")
    kind = KINDS[[b"0", b"5", b"2", b"1", b"6", b"3", b"4"].index(head[156:157])]
    name = head[:100].split(b"\0")[0]
    prefix = head[345:500].split(b"\0")[0]
    path = pax.get(b"GNU.sparse.name") or pax.get(b"path") or (prefix + b"/" + name if prefix else name)
    words = dict(w.split(b"=", 1) for w in pax[b"comment"].removeprefix(b"nxs ").split(b" "))
    state = words.get(b"state", b"sound").decode()
    mtime = moment(pax[b"mtime"]) if b"mtime" in pax else (octal(head[136:148]), 0)
    stored = int(pax[b"size"]) if b"size" in pax else octal(head[124:136])
    start = 512 + (length + 511 & -512) + 512
    need(start + (stored + 511 & -512) == len(raw), "length of a member")
    content = data = raw[start:start + stored]
    if b"GNU.sparse.major" in pax:
        need((pax[b"GNU.sparse.major"], pax[b"GNU.sparse.minor"]) == (b"1", b"0"), "version of sparse format")
        first, _, rest = data.partition(b"\n")
        numbers = rest.split(b"\n", 2 * int(first))[:2 * int(first)]
        map_bytes = len(first) + 1 + sum(len(n) + 1 for n in numbers)
        numbers = list(map(int, numbers))
        data, content = data[map_bytes + 511 & -512:], bytearray(int(pax[b"GNU.sparse.realsize"]))
        for offset, size in zip(numbers[::2], numbers[1::2]):
            content[offset:offset + size], data = data[:size], data[size:]
        need(not data, "data behind the stretches of a sparse file")
    link = pax.get(b"linkpath", head[157:257].split(b"\0")[0])
    device = (octal(head[329:337]), octal(head[337:345])) if kind in ("char", "block") else (0, 0)
    uid, gid = (int(pax.get(k, octal(head[a:a + 8]))) for k, a in ((b"uid", 108), (b"gid", 116)))
    entry = Entry(path.removesuffix(b"/"), kind, state, octal(head[100:108]), uid, gid, len(content), mtime,
                  moment(pax[b"ctime"]), int(words[b"ino"]), 0, len(raw), link, *device)
    return entry, bytes(content)


class Backup:
    def __init__(self, archive):
        with open(archive + ".nxs.json", "rb") as file:
            self.record = read_record(file.read())
        with open(archive + ".nxs.idx", "rb") as file:
            raw = file.read()
        self.archive, self.reads = open(archive, "rb"), 0
        need(len(raw) == self.record["index"]["bytes"], "size of the index")
        need(hashlib.sha256(raw).hexdigest() == self.record["index"]["sha256"], "sha256 of the index")
        check_hash(raw, bytes.fromhex(self.record["index"]["blake3"]), "the index")
        self.index = Index(raw)

    def plain(self, offset, length):
        """Plain bytes of the archive, by the frames that hold them."""
        end, found, start = offset + length, b"", None
        for f in self.index.frames:
            if f.plain_offset < end and f.plain_offset + f.plain > offset:
                self.archive.seek(f.stored_offset)
                plain = decompress(self.index.header.codec, self.archive.read(f.stored))
                need(len(plain) == f.plain, "length of a frame")
                check_hash(plain, f.hash, "a frame")
                self.reads += 1
                start = f.plain_offset if start is None else start
                found += plain
        return found[offset - start:end - start]

    def check(self):
        record, header, index = self.record, self.index.header, self.index
        raw = self.archive.read()
        need(len(raw) == record["archive"]["bytes"], "size of the archive")
        need(hashlib.sha256(raw).hexdigest() == record["archive"]["sha256"], "sha256 of the archive")
        check_hash(raw, bytes.fromhex(record["archive"]["blake3"]), "the archive")
        need(header.id == record["id"], "id of the index")
        need(header.root.decode() == record["root"], "root of the index")
        level = f"-{header.level}" if header.codec != "none" else ""
        need(header.codec + level == record["compression"], "compression")
        need(header.plain == record["plain_bytes"] and header.stored == record["compressed_bytes"], "bytes")
        need(index.plain_bytes == record["index"]["plain_bytes"], "plain bytes of the index", index.plain_bytes)
        need(record["dirs"] == header.dirs and record["files"] == header.entries - header.dirs, "counts")

        whole = decompress(header.codec, raw)
        need(len(whole) == header.plain, "plain bytes of the whole archive")
        frames = b"".join(self.plain(f.plain_offset, f.plain) for f in index.frames)
        need(frames == whole, "the frames are not the archive")
        end = 0
        for e in index.entries:
            need(e.offset == end, "members do not lie end to end", e.path)
            end += e.stored
        need(whole[end:] == bytes(1024), "end of the archive")

        with tarfile.open(fileobj=io.BytesIO(whole), encoding="latin-1") as tar:
            members = tar.getmembers()
            need(len(members) == len(index.entries), "tarfile sees other members")
            for e, m in zip(index.entries, members):
                self.compare(e, m, tar)

    def compare(self, e, m, tar):
        found, content = read_member(self.plain(e.offset, e.stored))
        need(found._replace(offset=e.offset) == e, "index and member differ:", e, found)
        types = {"file": m.isfile(), "dir": m.isdir(), "symlink": m.issym(), "hardlink": m.islnk(),
                 "fifo": m.isfifo(), "char": m.ischr(), "block": m.isblk()}
        need(types[e.kind], "tarfile sees another type", e.path, m.type)
        seen = (m.name, m.mode, m.uid, m.gid, m.size, m.offset, m.linkname)
        own = (e.path.decode("latin-1"), e.mode, e.uid, e.gid, e.size, e.offset, e.link.decode("latin-1"))
        need(seen == own, "tarfile sees another member", seen, own)
        need(abs(m.mtime - e.mtime[0] - e.mtime[1] / 1e9) < 1e-6, "mtime", e.path, m.mtime)
        if e.kind == "file":
            need(tar.extractfile(m).read() == content, "content", e.path)

    def show(self):
        print(json.dumps(self.record))
        for e in self.index.entries:
            text = {k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in e._asdict().items()}
            print(json.dumps(text))


def main(archive, path=None):
    backup = Backup(archive)
    if path is None:
        backup.check()
        backup.show()
        return
    entry = next((e for e in backup.index.entries if e.path == path.encode("latin-1")), None)
    need(entry is not None and entry.kind == "file", "no such file:", path)
    _, content = read_member(backup.plain(entry.offset, entry.stored))
    sys.stdout.buffer.write(content)
    sys.stderr.write(f"{backup.reads} of {len(backup.index.frames)} frames\n")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Broken as problem:
        sys.exit(f"read.py: {problem}")
