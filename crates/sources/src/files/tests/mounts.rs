//! Mount points below a target, a tree that is mounted into itself, and the root of the file system as target.

use super::*;

/// A mount that ends with the test.
struct Mounted(PathBuf);

impl Mounted {
    /// None, and a word about it, where this is not allowed.
    fn new(args: &[&str], at: &Path) -> Option<Self> {
        let output = Command::new("mount").args(args).arg(at).output().ok()?;
        if output.status.success() {
            return Some(Self(at.to_owned()));
        }
        println!("SKIP mounts: {}", String::from_utf8_lossy(&output.stderr));
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status();
        assert!(std::thread::panicking() || done.is_ok_and(|s| s.success()), "{} is busy", self.0.display());
    }
}

fn one_file_system(root: &Path, is_on: bool) -> (Vec<String>, Vec<(NoteKind, String)>) {
    let mut spec = spec(&[root.to_str().unwrap()], &[]);
    spec.one_file_system = is_on;
    let source = FilesSource::new(spec).unwrap();
    let (sink, report) = dump(&source, &targets(&source)[0]);
    untar(&sink.bytes);
    let prefix = format!("{}/", &root.to_str().unwrap()[1..]);
    let below = |p: String| p.strip_prefix(&prefix).map(str::to_owned);
    (sink.paths().into_iter().filter_map(below).collect(), notes(&report, root))
}

#[test]
fn one_file_system_saves_mount_points_empty_and_notes_them() {
    let (_dir, root) = fresh();
    for name in ["m", "n/deep"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::write(root.join("z"), "").unwrap();
    let Some(_m) = Mounted::new(&["-t", "tmpfs", "none"], &root.join("m")) else { return };
    let Some(_n) = Mounted::new(&["-t", "tmpfs", "none"], &root.join("n/deep")) else { return };
    fs::create_dir(root.join("m/below")).unwrap();
    fs::write(root.join("m/below/x"), "x").unwrap();
    fs::write(root.join("n/deep/y"), "y").unwrap();

    let (all, all_notes) = one_file_system(&root, false);
    assert_eq!((all.join(" ").as_str(), all_notes), ("m m/below m/below/x n n/deep n/deep/y z", vec![]));
    let (here, here_notes) = one_file_system(&root, true);
    assert_eq!(here, ["m", "n", "n/deep", "z"]);
    assert_eq!(here_notes, ["m", "n/deep"].map(|name| (NoteKind::LeftOut, name.to_owned())));
    // A target that is a mount point itself is the one file system that is meant.
    assert_eq!(one_file_system(&root.join("m"), true), (vec!["below".into(), "below/x".into()], vec![]));
}

#[test]
fn a_tree_that_is_mounted_into_itself_comes_to_an_end() {
    let (_dir, root) = fresh();
    fs::create_dir_all(root.join("a/again")).unwrap();
    fs::write(root.join("f"), "x").unwrap();
    let Some(_bound) = Mounted::new(&["--bind", root.to_str().unwrap()], &root.join("a/again")) else {
        return;
    };
    for is_on in [false, true] {
        let (paths, notes) = one_file_system(&root, is_on);
        assert_eq!(paths, ["a", "a/again", "a/again/a", "a/again/a/again", "a/again/f", "f"]);
        assert_eq!(notes, []);
    }
}

/// Excludes of everything in the directory `above` (ends with `/`) but `name`.
fn all_but(above: &str, name: &str) -> Vec<String> {
    let mut list = vec![format!("{above}{name}?*")];
    for (at, c) in name.char_indices() {
        let begin = &name[..at];
        list.push(format!("{above}{begin}[!{c}]*"));
        if at > 0 {
            list.push(format!("{above}{begin}"));
        }
    }
    list
}

#[test]
fn the_root_of_the_file_system_is_a_target_whose_members_are_what_is_in_it() {
    let dir = tempfile::Builder::new().prefix("nxsroot").tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::write(root.join("f"), "x").unwrap();
    fs::create_dir(root.join("d")).unwrap();
    let (mut above, mut excludes, mut expected) = ("/".to_owned(), Vec::new(), Vec::new());
    for name in root.to_str().unwrap()[1..].split('/') {
        excludes.extend(all_but(&above, name));
        expected.push(format!("{}{name}", &above[1..]));
        above = format!("{above}{name}/");
    }
    expected.extend([format!("{}d", &above[1..]), format!("{}f", &above[1..])]);
    let excludes: Vec<&str> = excludes.iter().map(String::as_str).collect();
    for pattern in ["/", "//", "/."] {
        let source = source(&[pattern], &excludes);
        let target = &targets(&source)[0];
        assert_eq!(target.root, "/", "{pattern}");
        source.probe(target).unwrap();
        let (sink, report) = dump(&source, target);
        assert_eq!((sink.paths(), report.gaps()), (expected.clone(), 0), "{pattern}");
        let place = untar(&sink.bytes);
        assert_eq!(fs::read(unpacked(&place, &root.join("f"))).unwrap(), b"x", "{pattern}");
    }
    let target = &targets(&source(&["/"], &[]))[0];
    assert_eq!((target.part.as_str(), target.file_stem.as_str()), ("%", "%"));
}
