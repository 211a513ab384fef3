//! A job with a local storage and a real FTP server, by the commands of a user.

use std::fs;

use jiff::civil::date;
use nxs_testkit::servers::{FtpKind, FtpServer};

use crate::house::{House, MAIN, SITES};

fn house(server: &FtpServer) -> House {
    let house = House::with_sites();
    house.config(&format!(
        "{MAIN}jobs:\n{SITES}  - {{storage: ftp, enable: yes, backup_dir: /backups/web, host: 127.0.0.1, port: {}, \
         user: {}, password: {}, store: {{days: 2, weeks: 0, month: 0}}}}\n",
        server.port, server.user, server.password
    ));
    house
}

#[test]
fn a_backup_goes_to_ftp_as_well_and_comes_back_from_there_alone() {
    let server = FtpServer::start(FtpKind::Vsftpd);
    let mut house = house(&server);
    for day in 18..=20 {
        house.now = date(2026, 11, day).at(3, 0, 0, 0);
        house.write("www/shop/index.html", &format!("of day {day}"));
        let answer = house.run(&["start"]);
        assert_eq!(answer.code, 0, "{answer:?}\n{}", house.log());
    }
    let stored = server.root.join("backups/web/shop/daily");
    let archives = || {
        let mut names: Vec<_> = fs::read_dir(&stored).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.retain(|n| n.to_string_lossy().ends_with(".tar.gz"));
        names.sort();
        names
    };
    assert_eq!(archives(), ["shop_2026-11-19_03-00.tar.gz", "shop_2026-11-20_03-00.tar.gz"]);
    assert!(fs::read_to_string(server.root.join("backups/web/RESTORE.md")).unwrap().contains("curl"));

    let verified = house.run(&["verify", "sites"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    fs::remove_dir_all(house.path("backup")).unwrap();
    let listed = house.run(&["ls", "sites"]);
    assert!(listed.code == 0 && listed.out.contains("2026-11-19 03:00"), "{listed:?}");
    let to = house.path("out");
    let at = ["restore", "sites", "--from", "ftp", "--at", "2026-11-19", "--to", to.to_str().unwrap()];
    let restored = house.run(&at);
    assert_eq!(restored.code, 0, "{restored:?}");
    let found = to.join(house.path("www/shop/index.html").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(found).unwrap(), "of day 19");
}

#[test]
fn a_server_that_is_down_is_named_and_the_local_copy_is_made() {
    let mut server = FtpServer::start(FtpKind::Vsftpd);
    let mut house = house(&server);
    assert_eq!(house.run(&["start"]).code, 0);
    server.kill();
    house.now = date(2026, 11, 21).at(3, 0, 0, 0);
    let answer = house.run(&["start"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(house.log().contains("127.0.0.1"), "{}", house.log());
    assert!(house.path("backup/shop/daily/shop_2026-11-21_03-00.tar.gz").is_file());

    server.run();
    house.now = date(2026, 11, 22).at(3, 0, 0, 0);
    assert_eq!(house.run(&["start"]).code, 0, "{}", house.log());
    let names = fs::read_dir(server.root.join("backups/web/shop/daily")).unwrap();
    let names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|n| !n.contains("nxs-part") && !n.contains("2026-11-21")), "{names:?}");
    assert!(names.iter().any(|n| n == "shop_2026-11-22_03-00.tar.gz"), "{names:?}");
}
