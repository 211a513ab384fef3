//! What this build does not have yet: said plainly, never green, and nothing else suffers from it.

use nxs_base::spec::{JobKind, StorageKind};

use crate::house::{House, MAIN, SITES};

const ARCHIVE: &str = "backup/shop/daily/shop_2026-11-20_03-00.tar.gz";

/// What this build says of a remote storage as `generate` writes it: with an empty host.
fn refusal(kind: StorageKind) -> String {
    match kind {
        StorageKind::Ftp | StorageKind::Scp => format!("storage `{}` has no `host`", kind.name()),
        kind => format!("storage `{}`: this build does not have it yet", kind.name()),
    }
}

#[test]
fn a_storage_that_cannot_be_opened_fails_alone_and_its_neighbour_gets_its_copy() {
    for kind in StorageKind::ALL.into_iter().filter(|kind| *kind != StorageKind::Local) {
        let block = nxs_config::generate(JobKind::DescFiles, &[kind]);
        let block = block.split_once("    storages:\n").unwrap().1.replace("\n  ", "\n");
        let block = block.trim_start_matches(' ');
        let both = format!("{SITES}  {block}");
        let house = House::with_sites();
        house.config(&format!("{MAIN}jobs:\n{both}"));
        let says = refusal(kind);
        let answer = house.run(&["start"]);
        assert_eq!(answer.code, 3, "{kind:?}: {answer:?}");
        assert!(answer.err.contains(&says), "{answer:?}");
        assert!(house.path(ARCHIVE).is_file());
        let (head, _) = SITES.split_once("  - {storage: local").unwrap();
        house.config(&format!("{MAIN}jobs:\n{head}  {block}"));
        let answer = house.run(&["start"]);
        assert_eq!(answer.code, 1, "{kind:?} alone: {answer:?}");
        assert!(answer.err.contains(&says), "{answer:?}");
    }
}

#[test]
fn every_example_of_the_configuration_passes_the_test_and_starts_as_far_as_this_build_goes() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/config/valid");
    let mut seen = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "conf") {
            continue;
        }
        seen += 1;
        let answer = House::new().run_bare(&["nxs-backup", "-t", "-c", path.to_str().unwrap()], |_| ());
        assert_eq!(answer.code, 0, "{path:?}: {answer:?}");
        assert!(answer.err.contains("syntax is correct!\n"), "{answer:?}");
    }
    assert!(seen >= 5);
}

#[test]
fn the_article_with_its_placeholder_is_refused_at_that_very_place() {
    let house = House::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/config/valid");
    for name in ["desc", "inc", "mysql"] {
        let text = std::fs::read_to_string(format!("{root}/article.d/{name}.conf")).unwrap();
        house.write(&format!("conf.d/{name}.conf"), &text.replace("port: 445", "port: smb_port"));
    }
    let main = std::fs::read_to_string(format!("{root}/article.conf")).unwrap();
    house.config(&main.replace("article.d", "conf.d"));
    let answer = house.run(&["-t"]);
    assert_eq!(answer.code, 10);
    let text = house.read("conf.d/mysql.conf");
    let (line, found) = text.lines().enumerate().find(|(_, l)| l.contains("smb_port")).unwrap();
    let place = format!("~/conf.d/mysql.conf:{}:{}", line + 1, found.find("smb_port").unwrap() + 1);
    let errors: Vec<_> = answer.err.lines().filter(|l| l.contains(": error: ")).collect();
    assert_eq!(
        errors,
        [format!("nxs-backup: {place}: error: jobs[2].storages[0].port: `smb_port` is not a port number")]
    );
}
