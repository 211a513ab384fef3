//! The whole way: files of `testdata/config` in, specs and diagnostics out. `NXS_BLESS=1` rewrites the goldens.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nxs_base::diag::Severity;
use nxs_base::spec::{Compression, IoNice, JobKind, Prepare, Require, Rotation, RunSpec, SourceSpec};
use proptest::prelude::*;

use crate::{Commands, Loaded, load, markdown};

mod behaviour;
mod every_key;
mod hostile;
mod text;

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Files of a configuration in a directory of their own, readable by their owner and group.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let files_dir = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| files_dir.write(name, text.as_bytes(), 0o640));
        files_dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &[u8], mode: u32) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Loaded {
        load(&self.path("main.conf"), Commands::Run)
    }

    /// Diagnostics as the program prints them, without the directory.
    fn said(&self, loaded: &Loaded) -> String {
        let dir = format!("{}/", self.0.path().display());
        loaded.diagnostics.iter().fold(String::new(), |mut out, d| {
            writeln!(out, "{}", d.to_string().replace(&dir, "")).unwrap();
            out
        })
    }
}

const MAIN: &str = "main: {server_name: web-01, admin_mail: ops@example.org}\n";

/// What loading says of one job, given as the text of the list entry; two blanks of indentation.
fn job(text: &str) -> (Loaded, String) {
    let files = Files::new(&[("main.conf", &format!("{MAIN}jobs:\n{text}"))]);
    let loaded = files.load();
    let said = files.said(&loaded);
    (loaded, said)
}

fn summary(spec: &RunSpec) -> String {
    let main = &spec.main;
    let mut out = format!(
        "main {} log {} state {} lock {:?} wait {:?}/{} legacy {} nice {} {:?}\n",
        main.server_name,
        main.log_file,
        main.state_dir,
        main.lock_file,
        main.loop_timeout_secs,
        main.loop_interval_secs,
        main.legacy_exit_codes,
        main.nice,
        main.ionice
    );
    for job in &spec.jobs {
        writeln!(
            out,
            "job {} {} tmp {:?} {:?} {:?}",
            job.name,
            job.kind.name(),
            job.tmp_dir,
            job.rotation,
            job.require
        )
        .unwrap();
        for source in &job.sources {
            write!(out, "  source {} {:?}", source.index, source.compression).unwrap();
            if let SourceSpec::Files(files) = &source.spec {
                write!(out, " {:?} without {:?}", files.targets, files.excludes).unwrap();
                let flags = (files.one_file_system, files.exclude_caches, &files.exclude_if_present);
                write!(out, " one fs {} caches {} marks {:?}", flags.0, flags.1, flags.2).unwrap();
            }
            out.push('\n');
        }
        for storage in &job.storages {
            let r = storage.retention;
            writeln!(
                out,
                "  storage {} {} {} {}/{}/{} host {:?}",
                storage.name,
                storage.enable,
                storage.backup_dir,
                r.days,
                r.weeks,
                r.months,
                storage.host()
            )
            .unwrap();
        }
    }
    out
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
        }
    }
}

/// Compares with the file, or writes it when asked to.
pub(crate) fn golden(path: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("NXS_BLESS").is_some() {
        std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    Err(format!("{}\n--- expected\n{expected}--- found\n{found}", path.display()))
}

/// Loads every `*.conf` directly in the corpus; the same name with `.expected` says what comes out.
fn corpus(name: &str, valid: bool) {
    let dir = Path::new(ROOT).join("testdata/config").join(name);
    let scratch = tempfile::tempdir().unwrap();
    copy(&dir, scratch.path());
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "conf"))
        .collect();
    names.sort();
    assert!(names.len() > 3, "the corpus `{name}` is nearly empty");
    let mut wrong = Vec::new();
    for path in names {
        let loaded = load(&scratch.path().join(path.file_name().unwrap()), Commands::Run);
        let prefix = format!("{}/", scratch.path().display());
        let mut found =
            loaded.diagnostics.iter().map(|d| format!("{d}\n").replace(&prefix, "")).collect::<String>();
        if loaded.spec.is_some() != valid {
            wrong.push(format!("{} is {}valid:\n{found}", path.display(), if valid { "not " } else { "" }));
        }
        found.extend(loaded.spec.as_ref().map(summary));
        wrong.extend(golden(&path.with_extension("expected"), &found).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_valid_configuration_loads_and_means_what_its_golden_says() {
    corpus("valid", true);
}

#[test]
fn every_invalid_configuration_gets_exactly_its_diagnostics() {
    corpus("invalid", false);
}

#[test]
fn the_documentation_is_what_the_key_table_prints() {
    golden(&Path::new(ROOT).join("docs/config.md"), &markdown()).unwrap();
}

const SMALL: &str = include_str!("../../../testdata/config/valid/article.d/inc.conf");
const LARGE: &str = include_str!("../../../testdata/config/valid/article.d/mysql.conf");

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn random_bytes_end_in_diagnostics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let files = Files::new(&[]);
        files.write("main.conf", &bytes, 0o640);
        prop_assert!(files.load().spec.is_none());
    }

    #[test]
    fn random_yaml_words_never_panic(words in prop::collection::vec(prop::sample::select(vec![
        "main:", "jobs:", "- ", "job: ", "x", "\n", "  ", "{", "}", "[", "]", "&a ", "*a ", "<<: ", "!include ", "'", "\"",
        "? ", ": ", "|\n", "~", ",", "type: mysql", "---\n", "#", "%", "store:", "storages:", "sources: ", "\t", "main.conf",
    ]), 0..60)) {
        let files = Files::new(&[("main.conf", &words.concat())]);
        let loaded = files.load();
        prop_assert!(loaded.spec.is_some() || loaded.diagnostics.iter().any(|d| d.severity == Severity::Error));
    }

    #[test]
    fn damaged_files_never_panic_and_are_explained(
        large in any::<bool>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, prop::collection::vec(any::<u8>(), 0..6)), 1..6),
    ) {
        let mut bytes = if large { LARGE } else { SMALL }.as_bytes().to_vec();
        for (at, length, new) in cuts {
            let start = at.index(bytes.len() + 1);
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, new);
        }
        let files = Files::new(&[("main.conf", &format!("{MAIN}jobs: !include [job.conf]\n"))]);
        files.write("job.conf", &bytes, 0o640);
        let loaded = files.load();
        let errors = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        prop_assert_eq!(loaded.spec.is_none(), errors > 0);
    }
}
