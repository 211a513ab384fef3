//! A WordPress site in a database: made by WordPress's own installer, filled with the files of its package.

use std::fs;
use std::process::Command;

use nxs_testkit::servers::mariadb::MariaDb;
use nxs_testkit::servers::run;

use crate::package;

/// What a browser starts at `wp-admin/install.php`, without the browser, mail and network.
const INSTALL: &str = r#"<?php
foreach (['DB_NAME', 'DB_USER', 'DB_PASSWORD', 'DB_HOST', 'ABSPATH'] as $name) {
    define($name, getenv($name));
}
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
define('WP_INSTALLING', true);
define('DISABLE_WP_CRON', true);
$_SERVER['HTTP_HOST'] = 'shop.example';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
$table_prefix = 'wp_';
require ABSPATH . 'wp-settings.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
add_filter('pre_http_request', fn() => new WP_Error('none', 'there is no network'));
add_filter('pre_wp_mail', '__return_true');
wp_install('Größe 🙂', 'admin', 'admin@shop.example', true, '', 'secret');
wp_insert_comment(['comment_post_ID' => 1, 'comment_author' => "O'Neill \\ \"🙂\"", 'comment_content' => "日本\n<b>größe</b>\t🙂"]);
"#;

/// Installs a site into `database`, which has to be there, as `user`.
pub(crate) fn install(server: &MariaDb, database: &str, user: &str, password: &str) {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("install.php");
    fs::write(&script, INSTALL).unwrap();
    let mut php = Command::new("php");
    php.args(["-d", "display_errors=stderr", "-d", "error_reporting=E_ERROR", "-f"])
        .arg(&script)
        .stdin(std::process::Stdio::null());
    php.env("ABSPATH", format!("{}/", root().display()))
        .env("DB_HOST", format!("localhost:{}", server.socket().display()));
    php.env("DB_NAME", database).env("DB_USER", user).env("DB_PASSWORD", password);
    run(&mut php);
    let tables = format!("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{database}'");
    assert_eq!(server.sql(&tables), "12\n");
    let posts = format!("SELECT COUNT(*) > 1 FROM {database}.wp_posts WHERE post_status = 'publish'");
    assert_eq!(server.sql(&posts), "1\n");
}

fn root() -> std::path::PathBuf {
    package::tree("wordpress").join("usr/share/wordpress")
}

/// Makes a post of every text file of the package, as often as it takes to have `bytes` of them; and what belongs to them.
pub(crate) fn fill(server: &MariaDb, database: &str, bytes: u64) {
    let (texts, _) = contents();
    let there: u64 = texts.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let times = bytes.div_ceil(there);
    let mut script = format!("USE {database}; SET NAMES utf8mb4; START TRANSACTION;\n");
    for path in &texts {
        let name = path.file_name().unwrap().to_str().unwrap();
        script += &format!(
            "INSERT INTO wp_posts (post_author, post_date, post_date_gmt, post_content, post_title, post_excerpt, post_name, \
             to_ping, pinged, post_modified, post_modified_gmt, post_content_filtered, guid) \
             SELECT 1, '2026-01-02 03:04:05' + INTERVAL seq DAY, '2026-01-02 02:04:05', LOAD_FILE('{}'), CONCAT('{name} 🙂 ', seq), '', \
             CONCAT('{name}-', seq), '', '', NOW(), NOW(), '', CONCAT('https://shop.example/?p=', seq) FROM seq_1_to_{times};\n",
            path.display()
        );
    }
    script += "COMMIT;\n\
        INSERT INTO wp_postmeta (post_id, meta_key, meta_value) SELECT ID, '_digest', SHA2(post_content, 512) FROM wp_posts;\n\
        INSERT INTO wp_comments (comment_post_ID, comment_author, comment_content) \
        SELECT seq % 500 + 1, CONCAT('gast ', seq), CONCAT('größe 日本 🙂 \\\\ '' \" \\n ', SHA2(seq, 512)) FROM seq_1_to_50000;\n";
    feed(server, &script);
    let missing = format!(
        "SELECT COUNT(*) FROM {database}.wp_posts WHERE post_content IS NULL OR post_title LIKE '% 🙂 %' AND post_content = ''"
    );
    assert_eq!(server.sql(&missing), "0\n");
}

/// The files of the package: texts, and all that is none.
pub(crate) fn contents() -> (Vec<std::path::PathBuf>, Vec<std::path::PathBuf>) {
    let files = package::files(&root()).into_iter().filter(|path| fs::metadata(path).unwrap().len() > 0);
    files.partition(|path| String::from_utf8(fs::read(path).unwrap()).is_ok_and(|text| !text.contains('\0')))
}

/// Runs a script with all that the stock client knows.
pub(crate) fn feed(server: &MariaDb, script: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), script).unwrap();
    run(server.client().arg("--max-allowed-packet=256M").stdin(fs::File::open(file.path()).unwrap()));
}
