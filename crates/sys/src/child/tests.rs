//! Children of all kinds, made of stock programs.

use super::*;

fn sh(script: &str) -> Tool {
    Tool::new("sh").args(["-c", script])
}

fn said(tool: Tool) -> String {
    String::from_utf8(tool.output(1 << 20, &Cancel::new()).unwrap()).unwrap()
}

fn is_alive(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_failure_is_told_with_status_and_last_words_and_only_after_the_last_byte() {
    let mut child = sh("echo out; echo first >&2; echo 'last word' >&2; exit 3").spawn().unwrap();
    let cancel = Cancel::new();
    let mut out = Vec::new();
    let mut block = [0; 100];
    loop {
        match child.read(&mut block, &cancel).unwrap() {
            0 => break,
            n => out.extend_from_slice(&block[..n]),
        }
    }
    assert_eq!(out, b"out\n");
    let ended = child.finish(&cancel).unwrap();
    let error = ended.judged().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tool);
    assert_eq!(error.to_string(), "`sh` ended with exit status 3: first; last word");
    assert_eq!(sh("kill -9 $$").output(10, &cancel).unwrap_err().to_string(), "`sh` ended with signal 9");
}

#[test]
fn complaints_without_end_are_drained_and_their_end_is_kept() {
    let ended = {
        let mut child = sh("seq 200000 >&2").spawn().unwrap();
        assert_eq!(child.read(&mut [0; 10], &Cancel::new()).unwrap(), 0);
        child.finish(&Cancel::new()).unwrap()
    };
    assert_eq!(ended.said.last().unwrap(), "200000");
    assert!(ended.said.iter().map(String::len).sum::<usize>() <= 16 << 10);
}

#[test]
fn a_missing_program_and_too_much_output_are_errors() {
    let error = Tool::new("/nonexistent/tool").output(10, &Cancel::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tool);
    assert!(error.chain().starts_with("cannot run `/nonexistent/tool`: "), "{}", error.chain());
    assert_eq!(sh("echo 12345678901").output(10, &Cancel::new()).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(find(&["no-such-program", "sh"]).is_some_and(|path| path.ends_with("sh")));
    assert_eq!(find(&["no-such-program"]), None);
}

#[test]
fn a_dropped_child_dies_with_its_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; sleep 1000", pids.display());
    let child = sh(&script).spawn().unwrap();
    let leader = child.id().to_string();
    until("the pid of the grandchild", || pids.exists());
    let grandchild = std::fs::read_to_string(&pids).unwrap().trim().to_owned();
    assert!(is_alive(&grandchild) && is_alive(&leader));
    drop(child);
    until("the grandchild to die", || !is_alive(&grandchild));
    assert!(!is_alive(&leader));
}

#[test]
fn what_a_child_leaves_behind_in_its_group_dies_when_it_ended() {
    let out = {
        // It holds both pipes open, too.
        let mut child = sh("sleep 1000 & echo $!").spawn().unwrap();
        let mut block = [0; 100];
        let n = child.read(&mut block, &Cancel::new()).unwrap();
        assert_eq!(child.read(&mut [0; 1], &Cancel::new()).unwrap(), 0);
        child.finish(&Cancel::new()).unwrap().judged().unwrap();
        String::from_utf8_lossy(&block[..n]).trim().to_owned()
    };
    until("the rest to die", || !is_alive(&out));
}

#[test]
fn a_silent_child_does_not_outlast_a_cancel() {
    let cancel = Cancel::new();
    let mut child = sh("sleep 1000").spawn().unwrap();
    let from_outside = cancel.clone();
    let leader = child.id().to_string();
    let error = std::thread::scope(|scope| {
        scope.spawn(move || from_outside.cancel());
        child.read(&mut [0; 10], &cancel).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    drop(child);
    assert!(!is_alive(&leader));
    let mut fed = sh("sleep 1000").spawn_fed().unwrap();
    assert_eq!(fed.write(&vec![0; 4 << 20], &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn secrets_reach_the_child_but_neither_its_arguments_nor_anybody_else() {
    let secret = Secret::new("s3cret-of-the-test");
    let mut tool = sh("cat \"$0\"; stat -L -c %a \"$0\"; tr '\\0' ' ' < /proc/$$/cmdline");
    let path = tool.secret_file(&secret).unwrap();
    let out = said(tool.arg(&path));
    assert!(out.starts_with("s3cret-of-the-test600\n"), "{out}");
    assert_eq!(out.matches("s3cret").count(), 1, "{out}");
    // Closed for children that it is not meant for.
    let mut mine = sh("true");
    let path = mine.secret_file(&secret).unwrap();
    assert_eq!(said(sh("test -e \"$0\" && echo seen || echo nothing").arg(path)), "nothing\n");
    let debug = format!("{:?}", sh("true").secret_env("PASS", secret.clone()));
    assert!(!debug.contains("s3cret"), "{debug}");
    let out = said(sh("env").secret_env("PASS", secret));
    assert!(out.contains("PASS=s3cret-of-the-test\n") && out.contains("PATH="), "{out}");
    // Set by cargo for this process.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some() && !out.contains("CARGO_"), "{out}");
}

#[test]
fn a_fed_child_gets_every_byte_and_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let cancel = Cancel::new();
    let mut fed = sh("cat > \"$0\"; echo printed; echo complained >&2").arg(&copy).spawn_fed().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    bytes.chunks(70_000).for_each(|chunk| fed.write(chunk, &cancel).unwrap());
    let ended = fed.finish(&cancel).unwrap();
    ended.judged().unwrap();
    assert!(ended.said.contains(&"printed".to_owned()) && ended.said.contains(&"complained".to_owned()));
    assert!(std::fs::read(&copy).unwrap() == bytes);
}
