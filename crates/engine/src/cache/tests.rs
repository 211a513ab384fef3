//! Names of copies, and which of them go. What increments make of them is tested in `tests/faults/cache.rs`.

use std::fs;

use jiff::civil::date;

use super::*;

fn group(job: &str) -> GroupId {
    let text = |text: &str| text.to_owned();
    GroupId { server_name: text("web"), job: text(job), source: 0, root: text("/srv/x"), part: text("x") }
}

fn places() -> [Place; 6] {
    [date(2026, 3, 5), date(2026, 11, 21)]
        .map(|day| [Place::year_of(day), Place::month_of(day), Place::decade_of(day)])
        .concat()
        .try_into()
        .unwrap()
}

#[test]
fn a_name_tells_place_group_and_backup_and_other_names_are_none_of_ours() {
    for place in places() {
        let id = BackupId(0x0123_4567_89ab_cdef);
        let name = name(&group("a"), place, id);
        let parsed = parse(&name).unwrap();
        assert_eq!((parsed.place, parsed.group, parsed.id), (place, digest(&group("a")).as_str(), id));
        assert_ne!(parsed.group, digest(&group("b")));
        for other in [&name[1..], &name[..name.len() - 1], &name.to_uppercase(), &format!("x{name}")] {
            assert!(parse(other).is_none_or(|p| p.place != place), "{other}");
        }
    }
    for other in ["", ".", "2026", "2026-13-40.0123456789abcdef.x.nxs.idx", "README"] {
        assert!(parse(other).is_none(), "{other}");
    }
}

#[test]
fn what_can_be_no_parent_goes_and_what_is_not_ours_stays() {
    let state = tempfile::tempdir().unwrap();
    let cache = IndexCache::new(state.path());
    let today = date(2026, 11, 30);
    cache.prune(&group("a"), today, None).unwrap();
    let dir = state.path().join("indexes");
    fs::create_dir(&dir).unwrap();
    let put = |name: &str| fs::write(dir.join(name), "x").unwrap();
    let (needed, other) = (BackupId(1), BackupId(2));
    for place in places() {
        for job in ["a", "b"] {
            [needed, other].into_iter().for_each(|id| put(&name(&group(job), place, id)));
        }
    }
    put("README");
    let left = |job: &str| format!(".{}.0123.tmp", name(&group(job), places()[0], needed));
    ["a", "b"].into_iter().for_each(|job| put(&left(job)));

    let names = || {
        let mut names: Vec<String> =
            fsx::list_dir(&dir).unwrap().into_iter().map(|n| String::from_utf8(n).unwrap()).collect();
        names.sort();
        names
    };
    let now: BTreeSet<Place> =
        [Place::year_of(today), Place::month_of(today), Place::decade_of(today)].into_iter().collect();
    let expected = |ids_of_a: &[BackupId]| {
        let mut expected = vec!["README".to_owned(), left("b")];
        for place in &now {
            expected.extend(ids_of_a.iter().map(|id| name(&group("a"), *place, *id)));
            expected.extend([needed, other].map(|id| name(&group("b"), *place, id)));
        }
        expected.sort();
        expected
    };
    cache.prune(&group("a"), today, None).unwrap();
    assert_eq!(names(), expected(&[needed, other]));
    cache.prune(&group("a"), today, Some(&BTreeSet::from([needed]))).unwrap();
    assert_eq!(names(), expected(&[needed]));
}

#[test]
fn only_the_first_error_of_a_run_is_told() {
    let cache = IndexCache::new(Path::new("/nowhere"));
    let error = Error::new(ErrorKind::Denied, "no");
    assert!(cache.complaint(&error).unwrap().contains("`/nowhere/indexes`: no"));
    assert_eq!(cache.complaint(&error), None);
}
