//! Memory of a dump does not grow with the number of files.

use nxs_base::entry::IndexEntry;

use super::*;

/// Forgets all but the number of entries.
#[derive(Default)]
struct Forgetful {
    entries: usize,
}

impl Sink for Forgetful {
    fn begin(&mut self, _artefact: Artefact) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn cut_here(&mut self) -> Result<()> {
        Ok(())
    }

    fn entry(&mut self, _entry: &IndexEntry) -> Result<()> {
        self.entries += 1;
        Ok(())
    }
}

/// Tells the part of the test that runs in a process of its own what to dump.
const TREE: &str = "NXS_TEST_MEMORY_TREE";

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_dump_of_ten_times_the_files_takes_no_more_memory() {
    if let Some(tree) = std::env::var_os(TREE) {
        let source = source(&[tree.to_str().unwrap()], &[]);
        let mut sink = Forgetful::default();
        let report = source.dump(&targets(&source)[0], &mut sink, &Cancel::new()).unwrap();
        println!("peak {} {} {}", peak_kib(), sink.entries, report.notes.len());
        return;
    }
    // In memory where there is such a place: the tree is what takes the time.
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    // As many as are read ahead, and ten times that.
    let [few, many] = [16, 160].map(|dirs: usize| {
        let root = place.path().join(dirs.to_string());
        for d in 0..dirs {
            let dir = root.join(format!("{d:03}"));
            fs::create_dir_all(&dir).unwrap();
            for f in 0..1000 {
                fs::File::create(dir.join(format!("a name of about forty characters {f:07}"))).unwrap();
            }
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "files::tests::memory::a_dump_of_ten_times_the_files_takes_no_more_memory"])
            .args(["--nocapture", "--test-threads=1"])
            .env(TREE, &root)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|l| l.split_once("peak ")).unwrap_or_else(|| panic!("{text}")).1;
        let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers[1..], [1 + dirs as u64 * 1001, 0]);
        numbers[0]
    });
    // 144,000 files more, and 50,000 entries of 100 bytes that may be read ahead.
    assert!(many < few + (10 << 10), "{few} KiB for few, {many} KiB for many");
    assert!(many < 64 << 10, "{many} KiB");
}
