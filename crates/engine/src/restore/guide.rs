//! `RESTORE.md`: how to restore with stock tools, for what lies on this very storage. Pure text.
//!
//! Names are chosen by tenants of the server: shell commands quote them, text escapes them, and neither can hold a
//! line break (keys have no control bytes, roots are percent-escaped).

use nxs_base::layout::discrete;
use nxs_base::layout::stock::{self, Feed};
use nxs_base::ports::storage::ObjectKey;
use nxs_base::shell::quote;
use nxs_base::spec::JobKind;

/// Says the command that brings an archive here; none where it lies in this directory already.
pub type Fetch<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One backup that the page names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuideLine {
    pub job: String,
    pub target: String,
    pub root: String,
    /// Type of the job, as its record has it; empty where nobody knows.
    pub kind: String,
    /// Keys of its archives below the backup directory, in the order in which they are unpacked: one, or the full and
    /// the differences; none if no chain of the target is whole.
    pub keys: Vec<String>,
    /// Local start, for people.
    pub when: String,
    /// The newest one of its target that is complete.
    pub complete: bool,
    /// All chains of the years in which the target has more than one full; each with the keys of its archives, the
    /// full first.
    pub chains: Vec<Vec<String>>,
}

/// Renders the page. `lines` holds the newest backup of every target.
pub fn render(server: &str, backup_dir: &str, lines: &[GuideLine], fetch: Fetch<'_>) -> String {
    let mut page = String::new();
    page.push_str("# How to restore what lies here\n\n");
    page.push_str(&format!(
        "Backups of the server {} below `{}`. Backups of files are PAX tar files, those of databases what the \
         database's own program writes; compressed with gzip (`.gz`) or zstd (`.zst`). No special program is needed; run the commands as root, in this directory, so that owners, \
         ACLs and extended attributes come back.\n\n",
        code(server),
        backup_dir.replace('`', "'")
    ));
    page.push_str("Beside each archive lie `….nxs.json` (its record: digests, sizes, when and what) and ");
    page.push_str(
        "`….nxs.idx` (for files: the list of what is inside). An archive without a record is not a finished backup.\n",
    );
    for line in lines {
        push_line(&mut page, line, fetch);
    }
    let is_tree = |line: &&GuideLine| !is_physical(&line.kind);
    if lines.iter().filter(is_tree).any(|line| line.keys.len() != 1 || !line.chains.is_empty()) {
        page.push_str(CHAINS);
    }
    page.push_str(
        "\n## Check before you trust\n\nThe record holds `sha256` of the archive; compare it with `sha256sum ARCHIVE`. \
         With the program: `nxs-backup verify`.\n\n## One file only\n\nAppend its path, without the leading `/`, to \
         the command: `tar … -xpf ARCHIVE -C DIR var/www/site/file`.\n",
    );
    page
}

/// What is to be known where there are incremental backups.
const CHAINS: &str = "
## Incremental backups

They are chains: a full of the year, then what changed since then up to the month, to the decade (11th, 21st), to the
day. At most four archives make the tree of one day; they are unpacked in this order, all of them. With `-G` tar also
removes what was removed then: **in the directories that an archive lists it deletes everything that the archive does
not know.** Never unpack one where anything else lies; `mkdir` in the commands above fails if the directory exists, and
then nothing is done. Move what you need from there to its place.

Another day: the full in `YEAR/year/`, the archive in `month_MM/monthly/`, the first one in `daily/day_11/` or
`daily/day_21/`, and that of the day itself, as far as they are there and not younger than the day. A link among them
leads to an archive that is unpacked already. In doubt the records tell: `parents` in `ARCHIVE.nxs.json` lists the ids
of what comes before it, the nearest first; `grep -rl '\"id\":\"ID\"' .` finds the record of an id.
";

fn push_line(page: &mut String, line: &GuideLine, fetch: Fetch<'_>) {
    let state = if line.complete { "" } else { ", with gaps: see its record" };
    page.push_str(&format!("\n## {} (job {})\n\n", code(&line.root), code(&line.job)));
    let fetched: Vec<String> = line.keys.iter().filter_map(|key| fetch(key)).collect();
    if !fetched.is_empty() {
        page.push_str(&format!(
            "Download, from any host, into a directory with room enough:\n\n```sh\n{}\n```\n\n",
            fetched.join(" &&\n")
        ));
    }
    page.push_str(&match line.keys.as_slice() {
        [] if is_physical(&line.kind) => {
            "None of them is whole: of each increment a copy that it follows is missing.\n".to_owned()
        }
        [] => "No chain is whole here: for every backup one of its parents is missing. What is left of it can be \
               unpacked one archive after the other, without `-G`.\n"
            .to_owned(),
        [key] if line.kind == JobKind::External.name() => format!(
            "Newest: {}{state}. A command of this job (`dump_cmd`) made it, and knows what is to be done with it. These are its \
             bytes:\n\n```sh\n{} {} > /tmp/restored\n```\n",
            line.when,
            decompress(key),
            quote(key)
        ),
        [key] if line.kind == JobKind::Redis.name() => format!(
            "Newest: {}{state}. A server reads it when it starts: stop it, and put the file into its directory (`dir`, \
             `dbfilename` of `redis.conf`). With `appendonly yes` a server does not look at it: start it once with \
             `appendonly no`, then `CONFIG SET appendonly yes`.\n\n\
             ```sh\n{} {} > /var/lib/redis/dump.rdb &&\nchown redis: /var/lib/redis/dump.rdb\n```\n",
            line.when,
            decompress(key),
            quote(key)
        ),
        [key] if let Some(feed) = feed_of(key) => format!(
            "Newest: {}{state}. {}\n\n```sh\n{} {} | {}\n```\n",
            line.when,
            feed.before(&line.root),
            decompress(key),
            quote(key),
            feed.command(&line.root)
        ),
        keys if let Some(commands) = data_directory(keys) => {
            let (parts, of_mysql) = match keys.len() {
                1 => (String::new(), String::new()),
                n => (
                    format!(" and {} increments over it", n - 1),
                    format!(" {}", stock::OF_MYSQLS_INCREMENTS),
                ),
            };
            format!(
                "Newest: {}{state}. A copy of the data directory{parts}; `/tmp/restore` must not be there yet.\n\n\
                 ```sh\n{commands}\n```\n\n{}{of_mysql}\n",
                line.when,
                stock::START_FROM_IT
            )
        }
        [key] => format!(
            "Newest: {}{state}.\n\n```sh\nmkdir -p /tmp/restore\n{}\n```\n{}",
            line.when,
            command(key),
            after_unpacking(key)
        ),
        keys => {
            let steps: Vec<String> = keys
                .iter()
                .enumerate()
                .map(|(n, key)| if n == 0 { command(key) } else { command_of_difference(key) })
                .collect();
            format!(
                "Newest: {}{state}. A chain of {} archives; `/tmp/restore` must not be there yet.\n\n\
                 ```sh\nmkdir /tmp/restore &&\n{}\n```\n",
                line.when,
                keys.len(),
                steps.join(" &&\n")
            )
        }
    });
    if !line.chains.is_empty() {
        page.push_str("\nThere is more than one full of a year. What belongs together:\n");
    }
    for chain in &line.chains {
        let Some((full, rest)) = chain.split_first() else { continue };
        page.push_str(&format!("\n- the full {}\n", code(full)));
        rest.iter().for_each(|key| page.push_str(&format!("  - {}\n", code(key))));
    }
}

fn extension_of(key: &str) -> Option<String> {
    Some(discrete::parse(&ObjectKey::new(key).ok()?)?.name.extension)
}

fn after_unpacking(key: &str) -> &'static str {
    let name = ObjectKey::new(key).ok().and_then(|key| discrete::parse(&key)).map(|parsed| parsed.name);
    name.map_or("", |name| stock::after_unpacking(&name.stem))
}

fn feed_of(key: &str) -> Option<Feed> {
    stock::feed(&extension_of(key)?)
}

fn data_directory(keys: &[String]) -> Option<String> {
    let plains: Vec<String> = keys.iter().map(|key| format!("{} {}", decompress(key), quote(key))).collect();
    stock::data_directory(&extension_of(keys.first()?)?, &plains)
}

fn is_physical(kind: &str) -> bool {
    [JobKind::MysqlXtrabackup, JobKind::MariadbBackup].iter().any(|job| job.name() == kind)
}

/// The command that prints what is in an archive.
fn decompress(key: &str) -> &'static str {
    match key.rsplit('.').next() {
        Some("gz") => "gzip -dc",
        Some("zst") => "zstd -dc",
        _ => "cat",
    }
}

/// The command that unpacks one archive.
pub fn command(key: &str) -> String {
    tar(key, "-xpf")
}

/// The command that unpacks a difference over what its parents left.
pub fn command_of_difference(key: &str) -> String {
    tar(key, "-xpGf")
}

fn tar(key: &str, flags: &str) -> String {
    let decompress = match key.rsplit('.').next() {
        Some("gz") => " --gzip",
        Some("zst") => " --zstd",
        _ => "",
    };
    format!(
        "tar --xattrs --xattrs-include='*' --acls --numeric-owner{decompress} {flags} {} -C /tmp/restore",
        quote(key)
    )
}

/// A Markdown code span around untrusted text.
fn code(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    match "`".repeat(longest + 1) {
        fence if longest == 0 => format!("{fence}{clean}{fence}"),
        fence => format!("{fence} {clean} {fence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                kind: "desc_files".into(),
                keys: vec!["t/daily/t.tar".into()],
                when: "2026-01-01 03:00".into(),
                complete: false,
                chains: Vec::new(),
            }],
            &|key| Some(format!("fetch {key}")),
        );
        assert!(page.contains("```sh\nfetch t/daily/t.tar\n```"), "{page}");
        assert!(page.contains("`/srv/a?b`"), "{page}");
        assert!(page.contains("with gaps"), "{page}");
    }
}
