//! `RESTORE.md`: how to restore with stock tools, for what lies on this very storage. Pure text.
//!
//! Names are chosen by tenants of the server: shell commands quote them, text escapes them, and neither can hold a
//! line break (keys have no control bytes, roots are percent-escaped).

use std::fmt::Write as _;

/// One backup that the page names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuideLine {
    pub job: String,
    pub target: String,
    pub root: String,
    /// Key of the archive below the backup directory.
    pub key: String,
    /// Local start, for people.
    pub when: String,
    /// The newest one of its target that is complete.
    pub complete: bool,
}

/// Renders the page. `lines` holds the newest backup of every target.
pub fn render(server: &str, backup_dir: &str, lines: &[GuideLine]) -> String {
    let mut page = String::new();
    page.push_str("# How to restore what lies here\n\n");
    page.push_str(&format!(
        "Backups of the server {} below `{}`. The archives are PAX tar files, compressed with gzip (`.gz`) or zstd \
         (`.zst`). No special program is needed; run the commands as root, in this directory, so that owners, \
         ACLs and extended attributes come back.\n\n",
        code(server),
        backup_dir.replace('`', "'")
    ));
    page.push_str("Beside each archive lie `….nxs.json` (its record: digests, sizes, when and what) and ");
    page.push_str(
        "`….nxs.idx` (the list of what is inside). An archive without a record is not a finished backup.\n",
    );
    for line in lines {
        push_line(&mut page, line);
    }
    page.push_str(
        "\n## Check before you trust\n\nThe record holds `sha256` of the archive; compare it with `sha256sum ARCHIVE`. \
         With the program: `nxs-backup verify`.\n\n## One file only\n\nAppend its path, without the leading `/`, to \
         the command: `tar … -xpf ARCHIVE -C DIR var/www/site/file`.\n",
    );
    page
}

fn push_line(page: &mut String, line: &GuideLine) {
    let state = if line.complete { "" } else { ", with gaps: see its record" };
    writeln!(page, "\n## {} (job {})\n", code(&line.root), code(&line.job))
        .and_then(|()| writeln!(page, "Newest: {}{state}.\n", line.when))
        .and_then(|()| writeln!(page, "```sh\nmkdir -p /tmp/restore\n{}\n```", command(&line.key)))
        .expect("writing to a string never fails");
}

/// The command that unpacks one archive.
pub fn command(key: &str) -> String {
    let decompress = match key.rsplit('.').next() {
        Some("gz") => " --gzip",
        Some("zst") => " --zstd",
        _ => "",
    };
    format!(
        "tar --xattrs --xattrs-include='*' --acls --numeric-owner{decompress} -xpf {} -C /tmp/restore",
        shell_quote(key)
    )
}

/// Quotes for a POSIX shell.
pub fn shell_quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    let path = if text.starts_with('-') { format!("./{text}") } else { text.to_owned() };
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// A Markdown code span around untrusted text.
fn code(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if clean.contains('`') { format!("`` {clean} ``") } else { format!("`{clean}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tenants_cannot_leave_their_quotes() {
        assert_eq!(shell_quote("site1/daily/a.tar.gz"), "site1/daily/a.tar.gz");
        assert_eq!(shell_quote("a'; rm -rf /"), r"'a'\''; rm -rf /'");
        assert_eq!(shell_quote("-rf"), "'./-rf'");
        assert_eq!(shell_quote("$(x)"), "'$(x)'");
        assert_eq!(shell_quote(""), "''");
    }

    #[test]
    fn the_page_names_the_command_for_each_compression() {
        assert!(command("a/daily/x.tar.zst").contains(" --zstd -xpf a/daily/x.tar.zst "));
        assert!(command("a/daily/x.tar.gz").contains(" --gzip "));
        assert!(!command("a/daily/x.tar").contains("zip"));
        let page = render(
            "web",
            "/b",
            &[GuideLine {
                job: "j`x".into(),
                target: "t".into(),
                root: "/srv/a\nb".into(),
                key: "t/daily/t.tar".into(),
                when: "2026-01-01 03:00".into(),
                complete: false,
            }],
        );
        assert!(page.contains("`/srv/a?b`"), "{page}");
        assert!(page.contains("with gaps"), "{page}");
    }
}
