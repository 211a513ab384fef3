//! Files made to do harm: they end in errors, in little time and memory.

use super::*;

#[test]
fn large_hostile_files_end_in_errors_instead_of_hanging() {
    for unit in [
        "[", "{", "- ", "? ", "&a ", "*a ", "!x ", "a: ", "a\n", "k: v\n", "- x\n", "'", "\"\\", "#\n", "# ",
        "|\n", "---\n", "<<: {}\n", "\t", "\u{feff}", "a b ", "\n\n", "%X\n",
    ] {
        let files = Files::new(&[("main.conf", &unit.repeat((1 << 20) / unit.len()))]);
        assert!(files.load().spec.is_none(), "{unit:?}");
    }
    let many: String = (0..90_000).map(|i| format!("k{i}: v\n")).collect();
    let files = Files::new(&[("main.conf", &many)]);
    assert!(files.load().diagnostics.len() > 80_000);
}
