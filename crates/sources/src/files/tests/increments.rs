//! Increments through the port: random histories over all levels, unpacked by GNU tar as v2's manual says.

use std::collections::BTreeMap;

use nxs_base::entry::{EntryState, path_order};
use nxs_base::ports::source::{Baseline, Lane};
use nxs_testkit::history::History;

use super::*;

type State = BTreeMap<Vec<u8>, IndexEntry>;

fn baseline(state: &State) -> Baseline<'static> {
    let mut entries: Vec<IndexEntry> = state.values().cloned().collect();
    entries.sort_by(|a, b| path_order(&a.path, &b.path));
    Box::new(entries.into_iter().map(Ok))
}

fn since(path: &Path, excludes: &[&str], states: &[Option<&State>]) -> Vec<(Collected, DumpReport)> {
    let source = source(&[path.to_str().unwrap()], excludes).without_racy_rule();
    let target = targets(&source).remove(0);
    let mut sinks: Vec<Collected> = states.iter().map(|_| Collected::default()).collect();
    let mut lanes: Vec<Lane<'_>> = states
        .iter()
        .zip(&mut sinks)
        .map(|(state, sink)| Lane { baseline: state.map(baseline), sink })
        .collect();
    let reports = source.dump_since(&target, &mut lanes, &Cancel::new()).unwrap();
    drop(lanes);
    sinks.into_iter().zip(reports).map(|(sink, report)| (sink, report.unwrap())).collect()
}

/// The state after an increment.
fn applied(state: &State, index: &[IndexEntry]) -> State {
    let mut state = state.clone();
    for entry in index {
        if entry.state == EntryState::Removed {
            state.remove(&entry.path);
        } else {
            state.insert(entry.path.clone(), entry.clone());
        }
    }
    state
}

/// Unpacks a chain: the full with `-x`, what follows with `-xG`.
fn untar_chain(chain: &[&[u8]]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("out");
    fs::create_dir(&into).unwrap();
    for (n, archive) in chain.iter().enumerate() {
        let file = place.path().join(format!("{n}.tar"));
        fs::write(&file, archive).unwrap();
        let mut tar = Command::new("tar");
        tar.args([
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
            "--warning=no-timestamp",
            "-xp",
        ]);
        if n > 0 {
            tar.arg("-G");
        }
        let output = tar.arg("-f").arg(&file).arg("-C").arg(&into).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && text.is_empty(), "{n}: {text}");
    }
    place
}

#[test]
fn random_histories_over_four_levels_are_what_gnu_tar_makes_of_the_chain() {
    for seed in 1..=12 {
        let (_dir, root) = fresh();
        let mut history = History::new(&root, seed);
        history.change(60).unwrap();
        // By level: the archive and the state after it.
        let mut chain: Vec<(Vec<u8>, State)> = Vec::new();
        let (full, _) = since(&root, &[], &[None]).remove(0);
        chain.push((full.bytes, applied(&State::new(), &full.index)));
        for step in 0..14 {
            history.change(1 + step % 5).unwrap();
            let level = 1 + [2, 2, 1, 2, 0][step as usize % 5];
            chain.truncate(level.min(chain.len()));
            let (made, report) = since(&root, &[], &[Some(&chain.last().unwrap().1)]).remove(0);
            assert_eq!(report.notes, [], "seed {seed}, step {step}");
            let state = applied(&chain.last().unwrap().1, &made.index);
            chain.push((made.bytes, state));
            let now = Snapshot::take(&root);
            assert_eq!(chain.last().unwrap().1.len(), now.nodes.len(), "seed {seed}, step {step}");
            let archives: Vec<&[u8]> = chain.iter().map(|(bytes, _)| bytes.as_slice()).collect();
            let place = untar_chain(&archives);
            now.assert_same(&Snapshot::take(&unpacked(&place, &root)), &format!("seed {seed}, step {step}"));
        }
    }
}

#[test]
fn nothing_changed_is_an_archive_without_members() {
    let (_dir, root) = fresh();
    History::new(&root, 7).change(50).unwrap();
    let (full, _) = since(&root, &[], &[None]).remove(0);
    let state = applied(&State::new(), &full.index);
    let (made, report) = since(&root, &[], &[Some(&state)]).remove(0);
    assert_eq!((made.bytes.len(), made.index.len(), report.files, report.dirs), (1024, 0, 0, 0));
}

#[test]
fn a_directory_lists_its_names_only_where_these_are_others_than_before() {
    let (_dir, root) = fresh();
    (0..2000).for_each(|n| fs::write(root.join(format!("picture-{n:04}.jpg")), "x").unwrap());
    let (full, _) = since(&root, &[], &[None]).remove(0);
    let state = applied(&State::new(), &full.index);
    fs::write(root.join("picture-0007.jpg"), "another").unwrap();
    let (content, _) = since(&root, &[], &[Some(&state)]).remove(0);
    assert_eq!(content.index.len(), 2, "the file, and its directory for the sake of its time");
    assert!(content.bytes.len() < 8 << 10, "{}", content.bytes.len());
    let check = |made: &Collected, what: &str| {
        let place = untar_chain(&[&full.bytes, &made.bytes]);
        Snapshot::take(&root).assert_same(&Snapshot::take(&unpacked(&place, &root)), what);
    };
    check(&content, "another content");
    fs::rename(root.join("picture-0009.jpg"), root.join("picture-0009.png")).unwrap();
    let (names, _) = since(&root, &[], &[Some(&state)]).remove(0);
    assert!(names.bytes.len() > 2000 * 18);
    check(&names, "another name");
    fs::rename(root.join("picture-0009.png"), root.join("picture-0009.jpg")).unwrap();
    fs::remove_file(root.join("picture-0011.jpg")).unwrap();
    fs::create_dir(root.join("picture-0011.jpg")).unwrap();
    let (kinds, _) = since(&root, &[], &[Some(&state)]).remove(0);
    assert!(kinds.bytes.len() > 2000 * 18);
    check(&kinds, "another kind");
}

#[test]
fn one_walk_serves_several_parents() {
    let (_dir, root) = fresh();
    let mut history = History::new(&root, 3);
    history.change(40).unwrap();
    let (full, _) = since(&root, &[], &[None]).remove(0);
    let older = applied(&State::new(), &full.index);
    history.change(10).unwrap();
    let (month, _) = since(&root, &[], &[Some(&older)]).remove(0);
    let newer = applied(&older, &month.index);
    history.change(10).unwrap();
    let made = since(&root, &[], &[Some(&newer), None, Some(&older)]);
    let now = Snapshot::take(&root);
    let chains: [&[&[u8]]; 3] = [
        &[&full.bytes, &month.bytes, &made[0].0.bytes],
        &[&made[1].0.bytes],
        &[&full.bytes, &made[2].0.bytes],
    ];
    for chain in chains {
        now.assert_same(&Snapshot::take(&unpacked(&untar_chain(chain), &root)), "one of three parents");
    }
    assert!(made[0].0.bytes.len() < made[2].0.bytes.len());
}

#[test]
fn what_is_newly_excluded_is_removed_and_what_is_newly_included_is_saved() {
    let (_dir, root) = fresh();
    for dir in ["cache", "keep"] {
        fs::create_dir(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("f"), dir).unwrap();
    }
    let (full, _) = since(&root, &[], &[None]).remove(0);
    let all = applied(&State::new(), &full.index);
    let (less, _) = since(&root, &["cache"], &[Some(&all)]).remove(0);
    let removed: Vec<_> = less.index.iter().filter(|e| e.state == EntryState::Removed).collect();
    assert_eq!(removed.len(), 2);
    let place = untar_chain(&[&full.bytes, &less.bytes]);
    assert!(!unpacked(&place, &root).join("cache").exists());
    assert!(unpacked(&place, &root).join("keep/f").exists());
    let state = applied(&all, &less.index);
    let (again, _) = since(&root, &[], &[Some(&state)]).remove(0);
    let place = untar_chain(&[&full.bytes, &less.bytes, &again.bytes]);
    Snapshot::take(&root).assert_same(&Snapshot::take(&unpacked(&place, &root)), "included again");
}

#[test]
fn inodes_that_all_differ_are_not_believed() {
    let (_dir, root) = fresh();
    History::new(&root, 5).change(40).unwrap();
    let (full, _) = since(&root, &[], &[None]).remove(0);
    let mut state = applied(&State::new(), &full.index);
    state.values_mut().for_each(|e| e.meta.ino += 1000);
    let (made, report) = since(&root, &[], &[Some(&state)]).remove(0);
    assert_eq!(made.index, []);
    assert_eq!(report.notes.len(), 1);
    // One file alone is.
    let mut state = applied(&State::new(), &full.index);
    let file = state.values_mut().find(|e| e.meta.kind == nxs_base::entry::EntryKind::File).unwrap();
    file.meta.ino += 1000;
    let path = file.path.clone();
    let (made, _) = since(&root, &[], &[Some(&state)]).remove(0);
    assert!(made.index.iter().any(|e| e.path == path));
}

#[test]
fn entries_that_changed_just_now_are_racy_and_saved_again() {
    let (_dir, root) = fresh();
    fs::write(root.join("f"), "x").unwrap();
    let source = source(&[root.to_str().unwrap()], &[]);
    let target = targets(&source).remove(0);
    let mut sink = Collected::default();
    source
        .dump_since(&target, &mut [Lane { baseline: None, sink: &mut sink }], &Cancel::new())
        .unwrap()
        .remove(0)
        .unwrap();
    assert!(sink.index.iter().all(|e| e.state == EntryState::Racy));
    let state = applied(&State::new(), &sink.index);
    let (made, _) = since(&root, &[], &[Some(&state)]).remove(0);
    assert_eq!(made.index.len(), 2);
}
