//! Wrappers do what the call does, and name the path when it fails.

use super::*;

#[test]
fn errors_name_the_path_and_have_a_kind() {
    let error = open(Path::new("/nonexistent/x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "cannot open `/nonexistent/x`");
}

#[test]
fn show_escapes_control_bytes_and_bytes_that_are_not_utf8() {
    assert_eq!(show(b"a\n\xff\xc3\xa9%"), "a%0A%FF\u{e9}%");
}

#[test]
fn atomic_write_replaces_the_whole_file_with_the_asked_mode_and_leaves_no_temporary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    atomic_write(&path, b"one", 0o600).unwrap();
    atomic_write(&path, b"two!", 0o644).unwrap();
    assert_eq!(read(&path).unwrap(), b"two!");
    assert_eq!(stat(&path).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(list_dir(dir.path()).unwrap(), vec![b"f".to_vec()]);
}

#[test]
fn atomic_write_that_cannot_publish_leaves_no_temporary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    create_dir_all(&path.join("inside"), 0o755).unwrap();
    atomic_write(&path, b"x", 0o600).unwrap_err();
    assert_eq!(list_dir(dir.path()).unwrap(), vec![b"d".to_vec()]);
}

#[test]
fn rename_noreplace_never_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write(&a, b"a").unwrap();
    write(&b, b"b").unwrap();
    assert_eq!(rename_noreplace(&a, &b).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(read(&b).unwrap(), b"b");
    remove_file(&b).unwrap();
    rename_noreplace(&a, &b).unwrap();
    assert_eq!(list_dir(dir.path()).unwrap(), vec![b"b".to_vec()]);
}

#[test]
fn read_capped_takes_a_file_of_the_cap_and_refuses_a_larger_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    write(&path, b"12345").unwrap();
    assert_eq!(read_capped(&path, 5).unwrap(), b"12345");
    assert_eq!(read_capped(&path, 4).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn create_new_and_links_never_replace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    symlink(Path::new("nowhere"), &path).unwrap();
    assert_eq!(readlink(&path).unwrap(), Path::new("nowhere"));
    assert_eq!(create_new(&path, 0o600).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(symlink(Path::new("x"), &path).unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn a_second_open_file_does_not_get_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    write(&path, b"").unwrap();
    let (a, b) = (open(&path).unwrap(), open(&path).unwrap());
    assert!(try_flock(&a).unwrap());
    assert!(!try_flock(&b).unwrap());
    drop(a);
    assert!(try_flock(&b).unwrap());
}

#[test]
fn a_file_for_all_is_world_readable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    atomic_write(&path, b"", 0o640).unwrap();
    assert!(!is_world_readable(&path).unwrap());
    atomic_write(&path, b"", 0o644).unwrap();
    assert!(is_world_readable(&path).unwrap());
}

#[test]
fn the_temporary_directory_has_free_space() {
    assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
}
