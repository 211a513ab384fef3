//! Rows of the section `main`. Reading them: [`crate::v2`].

use super::{Key, KeyType, NEW, Section, key, number};

const fn main(name: &'static str, kind: KeyType, doc: &'static str) -> Key {
    key(Section::Main, name, kind, doc)
}

const SECONDS: KeyType = number(0, 31_536_000, "seconds");

pub(super) const KEYS: &[Key] = &[
    main(
        "server_name",
        KeyType::Text,
        "Name of this host in mails, records and reports; if empty, the name that the host has.",
    )
    .present()
    .example("web-01"),
    main("admin_mail", KeyType::Text, "Address that gets mails about errors.")
        .filled()
        .example("ops@example.org"),
    main("client_mail", KeyType::List, "Further addresses; empty ones are left out.").example("['']"),
    main("mail_from", KeyType::Text, "Sender of mails.").example("backup@example.org"),
    main(
        "level_message",
        KeyType::LooseChoice(&["error", "debug"]),
        "What the addresses in `client_mail` get: `error` only errors, `debug` the whole log.",
    )
    .default("error")
    .example("error"),
    main(
        "block_io_read",
        number(0, 1_000_000, "MB/s"),
        "Limit for reading from the disk that holds `general_path_to_all_tmp_dir`.",
    )
    .example("'50'"),
    main("block_io_write", number(0, 1_000_000, "MB/s"), "Limit for writing to that disk.").example("'50'"),
    main("blkio_weight", number(10, 1000, ""), "Weight of this program among all that use that disk.")
        .example("'100'"),
    main(
        "general_path_to_all_tmp_dir",
        KeyType::Path,
        "Directory by which the disk for the limits is found; not a default for `tmp_dir`.",
    )
    .example("/var/nxs-backup"),
    main("cpu_shares", number(1, 262_144, "shares"), "Share of the processor when others want it too.")
        .example("'128'"),
    main("log_file", KeyType::Path, "Log file; `/dev/stdout` works.")
        .aliases(&["log_file_name"])
        .default("/var/log/nxs-backup/nxs-backup.log")
        .example("/var/log/nxs-backup/nxs-backup.log"),
    main("smtp_server", KeyType::Text, "Mail server; without it mails go through `/usr/sbin/sendmail`.")
        .since("2.1.0")
        .example("smtp.example.org"),
    main("smtp_port", KeyType::Port, "Port of the mail server; 465 with `smtp_ssl`, else 25.")
        .since("2.1.0")
        .example("465"),
    main("smtp_ssl", KeyType::Flag, "TLS from the first byte.").since("2.1.0").default("no").example("yes"),
    main("smtp_tls", KeyType::Flag, "STARTTLS after connecting.").since("2.1.0").default("no").example("no"),
    main("smtp_user", KeyType::Text, "User at the mail server.").since("2.1.0").example("backup@example.org"),
    main("smtp_password", KeyType::Secret, "Password at the mail server.")
        .since("2.1.0")
        .example("ENV:SMTP_PASSWORD"),
    main("smtp_timeout", number(1, 3600, "seconds"), "How long to wait for the mail server.")
        .since("2.1.0")
        .default("10")
        .example("10"),
    main(
        "loop_timeout",
        SECONDS,
        "How long to wait while another run holds the lock; without it a run ends at once.",
    )
    .since("2.1.12")
    .example("7200"),
    main("loop_interval", number(1, 86_400, "seconds"), "How often to look at the lock while waiting.")
        .since("2.1.12")
        .default("30")
        .example("30"),
    main("state_dir", KeyType::Path, "Directory for the local cache of indexes and the run history.")
        .since(NEW)
        .default("/var/lib/nxs-backup")
        .example("/var/lib/nxs-backup"),
    main(
        "lock_file",
        KeyType::Path,
        "Lock file; by default in `/run`, for users other than root in `$XDG_RUNTIME_DIR`.",
    )
    .since(NEW)
    .example("/run/nxs-backup.lock"),
    main("nice", number(-20, 19, ""), "Processor priority of the program.")
        .since(NEW)
        .default("19")
        .example("19"),
    main(
        "ionice",
        KeyType::IoNice,
        "Disk priority: `idle`, `best-effort` with a level from 0 to 7, or `none` to leave it as it is.",
    )
    .since(NEW)
    .default("idle")
    .example("best-effort:7"),
    main("legacy_exit_codes", KeyType::Flag, "Exit with 0 although backups failed, as v2 did.")
        .since(NEW)
        .default("no")
        .example("no"),
    main("compression", KeyType::Compression, "Compression of all jobs that do not set their own.")
        .since(NEW)
        .example("{zstd: 3}"),
    main(
        "rotation",
        KeyType::Choice(&["auto", "before", "after"]),
        "When old backups go in all jobs that do not set their own.",
    )
    .since(NEW)
    .default("auto")
    .example("auto"),
];
