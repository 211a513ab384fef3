//! Tar against GNU tar and Python's tarfile, in both directions.
//!
//! What we write has to come out of `tar -x` whole and without a word on stderr; what GNU tar and version 2 (Python)
//! write has to come out of our reader. Parts that need root or a file system with attributes say `SKIP`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nxs_archive::tar::{EntryHeader, Extent, Member, TRAILER, TarReader, header};
use nxs_base::entry::{EntryKind, EntryState, FileTime, Meta};

const TIME: FileTime = FileTime { sec: 1_600_000_000, nsec: 123_456_789 };

fn meta(kind: EntryKind, size_bytes: u64) -> Meta {
    let mode = if kind == EntryKind::Dir { 0o750 } else { 0o640 };
    // Our own ids, told by the owner of our own process.
    let own = fs::metadata("/proc/self").unwrap();
    Meta {
        kind,
        mode,
        uid: own.uid(),
        gid: own.gid(),
        size_bytes,
        mtime: TIME,
        ctime: TIME,
        ino: 12,
        ..Meta::default()
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn member<'a>(path: &'a [u8], meta: &'a Meta) -> Member<'a> {
    Member {
        path,
        meta,
        link: b"",
        uname: b"",
        gname: b"",
        xattrs: &[],
        acl_access: None,
        acl_default: None,
        sparse: None,
        state: EntryState::Sound,
        dumpdir: None,
    }
}

#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(&mut self, m: &Member<'_>, data: &[u8]) {
        let plan = header(&mut self.0, m).unwrap();
        assert_eq!(plan.data_bytes, data.len() as u64);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len() + plan.padding, 0);
    }

    fn save(mut self, at: &Path) {
        self.0.extend_from_slice(&TRAILER);
        fs::write(at, self.0).unwrap();
    }
}

/// Runs a program that has to succeed in silence on stderr.
fn silent(command: &mut Command) -> Output {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{command:?}: {:?} {stderr}", output.status);
    output
}

fn tar(args: &[&str]) -> Output {
    silent(Command::new("tar").args(args))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn name(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn read_all(bytes: &[u8]) -> BTreeMap<Vec<u8>, (EntryHeader, Vec<u8>)> {
    let mut reader = TarReader::new(bytes);
    let mut all = BTreeMap::new();
    while let Some(entry) = reader.next().unwrap() {
        let mut data = Vec::new();
        let mut buf = [0; 4000];
        loop {
            match reader.read_data(&mut buf).unwrap() {
                0 => break,
                n => data.extend_from_slice(&buf[..n]),
            }
        }
        all.insert(entry.path.clone(), (entry, data));
    }
    all
}

/// The content of a member with its holes filled.
fn unpack((entry, data): &(EntryHeader, Vec<u8>)) -> Vec<u8> {
    let Some(extents) = &entry.sparse else { return data.clone() };
    let mut whole = vec![0; entry.meta.size_bytes as usize];
    let mut rest = &data[..];
    for extent in extents {
        let (part, tail) = rest.split_at(extent.len as usize);
        whole[extent.offset as usize..][..part.len()].copy_from_slice(part);
        rest = tail;
    }
    whole
}

#[test]
fn gnu_tar_extracts_names_types_times_and_modes_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (dir.path().join("a.tar"), dir.path().join("out"));
    fs::create_dir(&out).unwrap();

    let long = [&b"long/"[..], &[b'p'; 200], b"/", &[b'n'; 90], b"/", &[b'x'; 250]].concat();
    let split = [&b"s"[..], &[b'p'; 120], b"/", &[b'n'; 90]].concat();
    let long_dir = [&b"dir/"[..], &[b'd'; 220]].concat();
    let odd = b"odd \xff\xfe\n name=".to_vec();
    let odd_long = [&b"odd2/"[..], &[0xc3; 150]].concat();
    let paths = [&b"plain"[..], &long, &split, &odd, &odd_long, "žluťoučký/kůň".as_bytes()];

    let mut written = Archive::default();
    let dot = Meta { mode: 0o755, ..meta(EntryKind::Dir, 0) };
    written.add(&member(b".", &dot), b"");
    let mut directory = meta(EntryKind::Dir, 0);
    directory.mtime = FileTime { sec: 1_500_000_000, nsec: 250_000_000 };
    written.add(&Member { dumpdir: Some(b"Yin\0\0"), ..member(&long_dir, &directory) }, b"");
    for (i, path) in paths.iter().enumerate() {
        let file = meta(EntryKind::File, 500 * i as u64);
        written
            .add(&Member { state: EntryState::Racy, ..member(path, &file) }, &vec![b'a' + i as u8; 500 * i]);
    }
    let link = meta(EntryKind::Symlink, 0);
    written.add(&Member { link: &long, ..member(b"symlink", &link) }, b"");
    let hard = meta(EntryKind::HardLink, 0);
    written.add(&Member { link: &long, ..member(b"hard", &hard) }, b"");
    let fifo = meta(EntryKind::Fifo, 0);
    written.add(&member(b"fifo", &fifo), b"");
    if is_root() {
        let device = Meta { rdev_major: 1, rdev_minor: 3, ..meta(EntryKind::CharDevice, 0) };
        written.add(&member(b"null", &device), b"");
    } else {
        println!("SKIP device: needs root");
    }
    written.save(&archive);

    let listing = tar(&["-tvf", text(&archive)]).stdout;
    let lines = 11 + usize::from(is_root());
    assert_eq!(listing.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count(), lines);
    tar(&["--xattrs", "--acls", "-xpf", text(&archive), "-C", text(&out)]);

    for (i, path) in paths.iter().enumerate() {
        let at = out.join(name(path));
        assert_eq!(fs::read(&at).unwrap(), vec![b'a' + i as u8; 500 * i]);
        let found = fs::metadata(&at).unwrap();
        assert_eq!((found.mtime(), found.mtime_nsec()), (TIME.sec, i64::from(TIME.nsec)));
        assert_eq!(found.mode() & 0o7777, 0o640);
    }
    let found = fs::metadata(out.join(name(&long_dir))).unwrap();
    assert_eq!(
        (found.mtime(), found.mtime_nsec(), found.mode() & 0o7777),
        (1_500_000_000, 250_000_000, 0o750)
    );
    assert_eq!(fs::read_link(out.join("symlink")).unwrap(), name(&long));
    let (first, second) =
        (fs::metadata(out.join(name(&long))).unwrap(), fs::metadata(out.join("hard")).unwrap());
    assert_eq!((first.ino(), first.nlink()), (second.ino(), 2));
    assert!(fs::symlink_metadata(out.join("fifo")).unwrap().file_type().is_fifo());
    if is_root() {
        let null = fs::symlink_metadata(out.join("null")).unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), 0x103);
    }
}

#[test]
fn gnu_tar_restores_times_before_the_epoch_and_only_finds_them_old() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.tar");
    let mut written = Archive::default();
    let file = Meta { mtime: FileTime { sec: -5, nsec: 250_000_000 }, ..meta(EntryKind::File, 0) };
    written.add(&member(b"old", &file), b"");
    written.save(&archive);
    let output = Command::new("tar")
        .env("LC_ALL", "C")
        .arg("-xpf")
        .arg(&archive)
        .arg("-C")
        .arg(dir.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.lines().count() == 1, "{stderr}");
    assert!(stderr.contains("implausibly old time stamp"), "{stderr}");
    let found = fs::metadata(dir.path().join("old")).unwrap();
    assert_eq!((found.mtime(), found.mtime_nsec()), (-5, 250_000_000));
}

#[test]
fn gnu_tar_and_python_extract_sparse_files_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (dir.path().join("a.tar"), dir.path().join("out"));
    fs::create_dir(&out).unwrap();
    let e = |offset, len| Extent { offset, len };
    let cases: [(&[u8], u64, Vec<Extent>); 5] = [
        (b"front", 1 << 20, vec![e(0, 4096)]),
        (b"end", (1 << 20) + 77, vec![e(1 << 19, 512), e(1 << 20, 77)]),
        (b"nothing", 1 << 20, vec![]),
        (b"deep/many", 1 << 22, (0..200).map(|i| e(i * 8192, 4096)).collect()),
        (b"large", 1 << 36, vec![e((1 << 36) - 4096, 1024)]),
    ];
    let mut written = Archive::default();
    let mut contents = Vec::new();
    for (path, size, extents) in &cases {
        let file = meta(EntryKind::File, *size);
        let data: Vec<u8> =
            (0..extents.iter().map(|e| e.len).sum::<u64>()).map(|i| (i % 251 + 1) as u8).collect();
        written.add(&Member { sparse: Some(extents), ..member(path, &file) }, &data);
        contents.push(data);
    }
    written.save(&archive);
    tar(&["-tvf", text(&archive)]);
    tar(&["-xpf", text(&archive), "-C", text(&out)]);
    let by_python = dir.path().join("python");
    let script = "import sys,tarfile\ntarfile.open(sys.argv[1]).extractall(sys.argv[2])";
    silent(Command::new("python3").args(["-c", script, text(&archive), text(&by_python)]));
    for root in [&out, &by_python] {
        for ((path, size, extents), data) in cases.iter().zip(&contents) {
            let at = root.join(name(path));
            let found = fs::metadata(&at).unwrap();
            assert_eq!(found.size(), *size, "{}", at.display());
            assert!(found.blocks() * 512 < 1 << 20, "{} is not sparse", at.display());
            if *size < 1 << 30 {
                let mut whole = vec![0; *size as usize];
                let mut rest = &data[..];
                for extent in extents {
                    let (part, tail) = rest.split_at(extent.len as usize);
                    whole[extent.offset as usize..][..part.len()].copy_from_slice(part);
                    rest = tail;
                }
                assert!(fs::read(&at).unwrap() == whole, "{}", at.display());
            }
        }
    }
}

#[test]
fn gnu_tar_restores_extended_attributes_and_acls() {
    let dir = tempfile::tempdir().unwrap();
    let probe = dir.path().join("probe");
    fs::write(&probe, "").unwrap();
    let takes = |program: &str, args: &[&str]| {
        Command::new(program).args(args).arg(&probe).output().is_ok_and(|o| o.status.success())
    };
    if !takes("setfattr", &["-n", "user.p", "-v", "1"]) || !takes("setfacl", &["-m", "u:4242:r"]) {
        println!("SKIP attributes: need setfattr, setfacl and a file system that takes them");
        return;
    }
    let (archive, out) = (dir.path().join("a.tar"), dir.path().join("out"));
    fs::create_dir(&out).unwrap();
    let xattrs = [
        (b"user.a".to_vec(), b"x\0\n=\xff".to_vec()),
        (b"user.p=1%".to_vec(), b"v".to_vec()),
        (b"user.none".to_vec(), vec![]),
    ];
    let mut written = Archive::default();
    let file = Meta { mode: 0o650, ..meta(EntryKind::File, 1) };
    let access = b"user::rw-\nuser:4242:r--\ngroup::r--\nmask::r-x\nother::---\n";
    written.add(&Member { xattrs: &xattrs, acl_access: Some(access), ..member(b"file", &file) }, b"f");
    let directory = meta(EntryKind::Dir, 0);
    let default = b"user::rwx\ngroup::r-x\ngroup:4242:rwx\nmask::rwx\nother::---\n";
    written.add(&Member { acl_default: Some(default), ..member(b"dir", &directory) }, b"");
    written.save(&archive);
    tar(&["-tvf", text(&archive)]);
    tar(&["--xattrs", "--acls", "-xpf", text(&archive), "-C", text(&out)]);

    let dump = |path: &str| {
        let out = silent(
            Command::new("getfattr").args(["-d", "-e", "hex", "--absolute-names"]).arg(out.join(path)),
        );
        String::from_utf8(out.stdout).unwrap()
    };
    let dumped = dump("file");
    assert!(dumped.contains("user.a=0x78000a3dff\n"), "{dumped}");
    assert!(dumped.contains("=0x76\n") && dumped.contains("user.none"), "{dumped}");
    let acl = |path: &str| {
        let out = silent(Command::new("getfacl").args(["-n", "-c", "-E", "-p"]).arg(out.join(path)));
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(acl("file").trim_end(), std::str::from_utf8(access).unwrap().trim_end());
    let expected: String =
        std::str::from_utf8(default).unwrap().lines().map(|l| format!("default:{l}\n")).collect();
    assert!(acl("dir").ends_with(&format!("{expected}\n")), "{}", acl("dir"));

    // And the way back, from GNU tar to our reader.
    let again = dir.path().join("again.tar");
    tar(&["--xattrs", "--acls", "-cf", text(&again), "-C", text(&out), "file", "dir"]);
    let all = read_all(&fs::read(&again).unwrap());
    let mut sorted = xattrs.to_vec();
    sorted.sort();
    assert_eq!(all[&b"file"[..]].0.xattrs, sorted);
    let raw = |text: &[u8]| nxs_archive::tar::acl::encode(text, |_, _| None).unwrap();
    assert_eq!(raw(all[&b"file"[..]].0.acl_access.as_ref().unwrap()), raw(access));
    assert_eq!(raw(all[&b"dir"[..]].0.acl_default.as_ref().unwrap()), raw(default));
}

#[test]
fn gnu_tar_applies_deletions_from_our_dumpdirs() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (dir.path().join("a.tar"), dir.path().join("out"));
    fs::create_dir_all(out.join("d/gone")).unwrap();
    fs::create_dir_all(out.join("untouched")).unwrap();
    for path in ["d/kept", "d/old", "untouched/f"] {
        fs::write(out.join(path), "1").unwrap();
    }
    let mut written = Archive::default();
    let directory = meta(EntryKind::Dir, 0);
    written.add(&Member { dumpdir: Some(b"Nkept\0Ynew\0\0"), ..member(b"d", &directory) }, b"");
    let file = meta(EntryKind::File, 1);
    written.add(&member(b"d/new", &file), b"2");
    written.save(&archive);
    tar(&["-xGf", text(&archive), "-C", text(&out)]);
    let mut left: Vec<String> =
        fs::read_dir(out.join("d")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["kept", "new"]);
    assert!(out.join("untouched/f").exists());
}

/// A tree for GNU tar and Python to pack: long names, links, a hole, a fifo.
fn tree(root: &Path) -> Vec<u8> {
    let deep = root.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), vec![b'L'; 3000]).unwrap();
    fs::write(root.join("short"), "short").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xe9t\xe9")), "latin").unwrap();
    fs::hard_link(root.join("short"), root.join("twin")).unwrap();
    std::os::unix::fs::symlink("t".repeat(150), root.join("link")).unwrap();
    silent(Command::new("mkfifo").arg(root.join("pipe")));
    let mut holes = vec![0; 3 << 20];
    for i in 0..60 {
        holes[i * 50_000..][..10].fill(b'h');
    }
    let script = "import sys\nf=open(sys.argv[1],'wb')\nfor i in range(60):\n f.seek(i*50000); f.write(b'h'*10)\nf.truncate(3<<20)";
    silent(Command::new("python3").args(["-c", script]).arg(root.join("holes")));
    holes
}

fn check_tree(bytes: &[u8], holes: &[u8], with_sparse: bool) {
    let all = read_all(bytes);
    let at = |path: &str| &all[path.as_bytes()];
    let deep = format!("{}/{}/file", "d".repeat(120), "e".repeat(120));
    assert_eq!(at(&deep).1, vec![b'L'; 3000]);
    assert_eq!(all[&b"\xe9t\xe9"[..]].1, b"latin");
    assert_eq!((at("link").0.meta.kind, &at("link").0.link), (EntryKind::Symlink, &vec![b't'; 150]));
    assert_eq!(at("pipe").0.meta.kind, EntryKind::Fifo);
    let (short, twin) = (at("short"), at("twin"));
    let (first, second) = if short.0.meta.kind == EntryKind::File { (short, twin) } else { (twin, short) };
    assert_eq!((first.1.as_slice(), second.0.meta.kind), (&b"short"[..], EntryKind::HardLink));
    assert_eq!(second.0.link, first.0.path);
    assert_eq!(unpack(at("holes")).len(), holes.len());
    assert!(unpack(at("holes")) == holes);
    assert_eq!(at("holes").0.sparse.is_some(), with_sparse);
    let mut members: Vec<&EntryHeader> = all.values().map(|(entry, _)| entry).collect();
    members.sort_by_key(|entry| entry.offset);
    for pair in members.windows(2) {
        assert_eq!(pair[0].offset + pair[0].stored_bytes(), pair[1].offset);
    }
    let own = fs::metadata("/proc/self").unwrap();
    assert!(all.values().all(|(e, _)| e.meta.uid == own.uid() && e.meta.mtime.sec > 1_000_000_000));
}

#[test]
fn what_gnu_tar_packs_is_read_in_all_its_formats() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let holes = tree(&root);
    let names: Vec<String> =
        vec!["d".repeat(120), "short".into(), "twin".into(), "pipe".into(), "holes".into()];
    for (i, options) in [
        &["--format=gnu"][..],
        &["--format=posix"],
        &["--format=gnu", "--sparse"],
        &["--format=posix", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--hole-detection=raw"],
        &["--format=posix", "--pax-option=globexthdr.name=g,comment=whole"],
    ]
    .iter()
    .enumerate()
    {
        let at = dir.path().join(format!("{i}.tar"));
        let mut command = Command::new("tar");
        command.args(*options).arg("-cf").arg(&at).arg("-C").arg(&root).args(&names).arg("link");
        silent(command.arg(OsStr::from_bytes(b"\xe9t\xe9")));
        check_tree(&fs::read(&at).unwrap(), &holes, options.contains(&"--sparse"));
    }

    // Ustar has no room for the long names.
    let at = dir.path().join("ustar.tar");
    tar(&["--format=ustar", "-cf", text(&at), "-C", text(&root), "short", "twin", "pipe", "holes"]);
    let all = read_all(&fs::read(&at).unwrap());
    assert_eq!((all.len(), all[&b"short"[..]].1.as_slice()), (4, &b"short"[..]));
    assert!(all[&b"holes"[..]].1 == holes);
}

#[test]
fn times_of_gnu_tars_posix_format_come_back_to_the_nanosecond() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "x").unwrap();
    silent(Command::new("touch").args(["-d", "@-3.25"]).arg(dir.path().join("f")));
    let found = fs::metadata(dir.path().join("f")).unwrap();
    let at = dir.path().join("a.tar");
    tar(&["--format=posix", "-cf", text(&at), "-C", text(dir.path()), "f"]);
    let all = read_all(&fs::read(&at).unwrap());
    let meta = all[&b"f"[..]].0.meta;
    assert_eq!(meta.mtime, FileTime { sec: -4, nsec: 750_000_000 });
    assert_eq!(meta.ctime, FileTime { sec: found.ctime(), nsec: found.ctime_nsec() as u32 });
}

#[test]
fn incremental_archives_of_gnu_tar_are_read_with_their_lists() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("t/sub")).unwrap();
    fs::write(dir.path().join("t/f"), "x").unwrap();
    for format in ["--format=posix", "--format=gnu"] {
        let at = dir.path().join(format!("{format}.tar"));
        let snapshot = dir.path().join(format!("{format}.snar"));
        let options = [format, "-g", text(&snapshot), "-cf", text(&at), "-C", text(dir.path()), "t"];
        // Whether a directory is new is told on stderr, which is no fault.
        let output = Command::new("tar").args(options).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let all = read_all(&fs::read(&at).unwrap());
        assert_eq!(all[&b"t"[..]].0.dumpdir.as_deref(), Some(&b"Yf\0Dsub\0\0"[..]), "{format}");
        assert_eq!(all[&b"t/sub"[..]].0.meta.kind, EntryKind::Dir);
    }
}

#[test]
fn what_pythons_tarfile_packs_is_read_in_all_its_formats() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let holes = tree(&root);
    let script = "import os,sys,tarfile\n\
        root,out,form=sys.argv[1:]\n\
        os.chdir(root)\n\
        t=tarfile.open(out,'w|',format=getattr(tarfile,form))\n\
        for n in sorted(os.listdir('.')):\n\
        \x20t.add(n)\n\
        i=tarfile.TarInfo('inc'); i.type=tarfile.DIRTYPE; i.mtime=1500000000.25\n\
        i.pax_headers={'GNU.dumpdir':'Ya\\0Nb\\0\\0'}\n\
        i.uid=os.getuid(); i.gid=os.getgid()\n\
        t.addfile(i)\n\
        t.close()";
    for format in ["GNU_FORMAT", "PAX_FORMAT"] {
        let at = dir.path().join(format);
        silent(Command::new("python3").args(["-c", script, text(&root), text(&at), format]));
        let bytes = fs::read(&at).unwrap();
        check_tree(&bytes, &holes, false);
        if format == "PAX_FORMAT" {
            let all = read_all(&bytes);
            assert_eq!(all[&b"inc"[..]].0.dumpdir.as_deref(), Some(&b"Ya\0Nb\0\0"[..]));
            assert_eq!(all[&b"inc"[..]].0.meta.mtime, FileTime { sec: 1_500_000_000, nsec: 250_000_000 });
        }
    }
}

#[test]
fn pythons_tarfile_reads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a.tar");
    let long = "p/".repeat(150) + "name";
    let mut written = Archive::default();
    let directory = meta(EntryKind::Dir, 0);
    written.add(&member(b"dir", &directory), b"");
    let mut file = meta(EntryKind::File, 700);
    (file.uid, file.gid) = (3_000_000_000, 5);
    written.add(&Member { uname: b"root", ..member(long.as_bytes(), &file) }, &[b'z'; 700]);
    let hard = meta(EntryKind::HardLink, 0);
    written.add(&Member { link: long.as_bytes(), ..member(b"hard", &hard) }, b"");
    written.save(&at);
    let script = "import sys,tarfile\n\
        for m in tarfile.open(sys.argv[1]): print(m.name,m.size,m.mtime,m.uid,m.type.decode(),m.linkname,m.uname)";
    let out = silent(Command::new("python3").args(["-c", script, text(&at)])).stdout;
    let own = fs::metadata("/proc/self").unwrap().uid();
    let expected = format!(
        "dir 0 1600000000.1234567 {own} 5  \n{long} 700 1600000000.1234567 3000000000 0  root\n\
         hard 0 1600000000.1234567 {own} 1 {long} \n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
