//! `type: mongodb` over the stand-in: what is dumped, under which names, that an independent reader finds it, and that it
//! comes back byte for byte.

use nxs_testkit::servers::mongo::{self, Mongo, read_archive};

use crate::house::House;

/// One entry of `sources`.
pub(crate) fn source(server: &Mongo, what: &str) -> String {
    format!(
        "{{connect: {{db_host: 127.0.0.1, db_port: {}, db_user: {}, db_password: 'ENV:DB_PASSWORD'}}, \
         {what}, gzip: yes, extra_keys: ''}}",
        server.port(),
        mongo::USER
    )
}

pub(crate) const ALL: &str = "target_dbs: [all], target_collections: [all]";

pub(crate) fn house(sources: &[String]) -> House {
    let mut house = House::of("mongodb", sources);
    house.password = mongo::PASSWORD;
    house
}

/// Every type of BSON, the odd ones as raw bytes, and documents at the limits.
pub(crate) const TYPES: &str = r#"
def doc(body): return struct.pack('<I', len(body) + 5) + body + b'\0'
def of(kind, value, n): return doc(b'\x10_id\0' + struct.pack('<i', n) + bytes([kind]) + b'v\0' + value)
text = lambda s: struct.pack('<I', len(s) + 1) + s + b'\0'
inner = doc(b'\x08\0\x01\x08\0\x00')
raw = [
    of(0x01, struct.pack('<d', -0.0), 1), of(0x01, b'\1\0\0\0\0\0\xf8\x7f', 2), of(0x02, text('a\0b größe 🙂'.encode()), 3), of(0x03, inner, 4),
    of(0x04, doc(b'\x10\x37\0\1\0\0\0\x10\x37\0\2\0\0\0'), 5), of(0x05, b'\3\0\0\0\x00abc', 6), of(0x05, b'\5\0\0\0\x02\1\0\0\0a', 7),
    of(0x05, b'\x10\0\0\0\x03' + b'x' * 16, 8), of(0x05, b'\x10\0\0\0\x04' + b'y' * 16, 9), of(0x05, b'\0\0\0\0\xff', 10),
    of(0x06, b'', 11), of(0x07, bytes(range(12)), 12), of(0x08, b'\1', 13), of(0x09, struct.pack('<q', -(1 << 62)), 14), of(0x0a, b'', 15),
    of(0x0b, b'^a.*"\0imsx\0', 16), of(0x0c, text(b'db.coll') + bytes(12), 17), of(0x0d, text(b'function(){}'), 18), of(0x0e, text(b'symbol'), 19),
    of(0x0f, struct.pack('<I', 8 + 5 + 2 + len(inner)) + text(b'f') + inner, 20), of(0x10, struct.pack('<i', -1), 21), of(0x11, struct.pack('<II', 7, 1 << 31), 22),
    of(0x12, struct.pack('<q', 1 << 40), 23), of(0x13, bytes(range(16)), 24), of(0xff, b'', 25), of(0x7f, b'', 26), doc(b'\x0a_id\0'),
]
deep = doc(b'')
for n in range(150): deep = doc(b'\x03d\0' + deep)
raw.append(of(0x03, deep, 27))
pad = (16 << 20) - len(of(0x05, b'\0\0\0\0\0', 28))
raw.append(of(0x05, struct.pack('<I', pad) + b'\0' + b'z' * pad, 28))
assert len(raw[-1]) == 16 << 20
put('types', 'every', raw)
"#;

/// Collections with options, views, a capped one, a time series, odd names, users.
pub(crate) const SHOP: &str = r#"
cmd('shop', {'create': 'item', 'validator': {'price': {'$gte': Int64(0)}, 'name': Regex('^"', 'i')}, 'validationLevel': 'moderate', 'collation': {'locale': 'de'}})
put('shop', 'item', [{'_id': i, 'name': 'größe %d' % i, 'blob': Binary(bytes([i % 256]) * 200)} for i in range(5000)])
cmd('shop', {'createIndexes': 'item', 'indexes': [
    {'key': SON([('name', 1), ('a', -1)]), 'name': 'z_first'}, {'key': {'at': 1}, 'name': 'ttl', 'expireAfterSeconds': 3600},
    {'key': {'p': '2dsphere'}, 'name': 'geo', 'partialFilterExpression': {'b': {'$gt': 1.0}, 'a': Decimal128('1.50')}}]})
cmd('shop', {'create': 'cheap', 'viewOn': 'item', 'pipeline': [{'$match': {'price': {'$lt': 5}}}]})
cmd('shop', {'create': 'log', 'capped': True, 'size': 1048576, 'max': 100})
put('shop', 'log', [{'_id': i} for i in (3, 1, 2)])
cmd('shop', {'create': 'weather', 'timeseries': {'timeField': 't', 'metaField': 'm', 'granularity': 'hours'}})
put('shop', 'system.buckets.weather', [{'_id': ObjectId(b'0' * 12), 'control': {'version': 1}, 'data': {}}])
cmd('shop', {'create': 'empty'})
for name in ('with space', 'quote\'"`', 'dots.in.it', 'größe-日本', '-dash', 'a/b', 'per%cent'): put('shop', name, [{'_id': name}])
put('größe-日本', 't', [{'_id': 1}])
put('local', 'oplog.rs', [{'_id': 1}])
put('config', 'x', [{'_id': 1}])
put('admin', 'system.users', [{'_id': 'admin.boss', 'user': 'boss'}])
put('admin', 'system.roles', [{'_id': 'admin.role'}])
put('admin', 'system.version', [{'_id': 'authSchema', 'currentVersion': 5}])
"#;

#[test]
fn every_collection_is_an_archive_of_its_own_under_the_names_of_version_2_and_comes_back() {
    let server = Mongo::start();
    server.say(&format!("{TYPES}\n{SHOP}"));
    let house = house(&[source(&server, ALL)]);
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{}", said.log);
    let archives = house.archives(0);
    let parts: Vec<&str> = archives.keys().map(String::as_str).collect();
    assert_eq!(
        parts,
        [
            "admin/system.users",
            "größe-日本/t",
            "shop/-dash",
            "shop/a%2Fb",
            "shop/cheap",
            "shop/dots.in.it",
            "shop/empty",
            "shop/größe-日本",
            "shop/item",
            "shop/log",
            "shop/per%cent",
            "shop/quote'\"`",
            "shop/weather",
            "shop/with space",
            "types/every",
        ]
    );
    let name = archives["shop/item"].file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("0-shop--item_") && name.ends_with(".mongodump.gz"), "{name}");
    // What a reader that knows nothing of this program finds in it.
    let digest = |db: &str, collection: &str| {
        server.say(&format!(
            "d = docs({db:?}, {collection:?}); print(len(d), hashlib.sha256(b''.join(d)).hexdigest(), end='')"
        ))
    };
    let found = read_archive(&house.dump("shop/item"));
    assert!(found.starts_with(&format!("shop item {} {{", digest("shop", "item"))), "{found}");
    assert!(found.contains(r#""key": {"name": {"$numberInt": "1"}, "a": {"$numberInt": "-1"}}"#), "{found}");
    assert!(
        found.contains(r#""price": {"$gte": {"$numberLong": "0"}}"#)
            && found.contains(r#""collectionName": "item", "type": "collection"}"#)
            && found.contains("\"uuid\": \""),
        "{found}"
    );
    assert!(
        read_archive(&house.dump("types/every"))
            .starts_with(&format!("types every {} ", digest("types", "every")))
    );
    let series = read_archive(&house.dump("shop/weather"));
    assert!(
        series.starts_with(&format!(
            "shop system.buckets.weather {} ",
            digest("shop", "system.buckets.weather")
        )),
        "{series}"
    );
    assert!(read_archive(&house.dump("shop/cheap")).contains("\"viewOn\": \"item\""));
    let users = read_archive(&house.dump("admin/system.users"));
    assert_eq!(users.lines().count(), 4, "{users}");
    // The page beside the backups has the stock command, which takes the names from the archive.
    let page = std::fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    let line = page.lines().find(|line| line.contains("0-shop--item_")).unwrap();
    assert!(line.starts_with("gzip -dc ") && line.ends_with(" | mongorestore --archive"), "{line}");
    // And back, each into a fresh server.
    let fresh = Mongo::start();
    let address = format!("mongodb://{}@127.0.0.1:{}", mongo::USER, fresh.port());
    for part in parts.iter().filter(|part| !part.starts_with("admin/")) {
        let target = part.replacen('/', ".", 1).replace("%2F", "/");
        let said = house.run(&["restore", "db", &format!("--target={target}"), "--into", &address]);
        assert_eq!(said.code, Some(0), "{target}: {said:?}");
    }
    for db in ["shop", "types", "größe-日本"] {
        assert_eq!(fresh.fingerprint(db), server.fingerprint(db), "{db}");
    }
    // All of a database at once; under one name only one of them could go.
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(server.fingerprint("copy"), server.fingerprint("shop"));
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "other.one"]);
    assert!(
        said.code == Some(2) && said.err.contains("more than one backup would go to `other.one`"),
        "{said:?}"
    );
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy"]);
    assert!(said.code == Some(1) && said.err.contains("is not empty"), "{said:?}");
    let said = house.run(&["restore", "db", "--target", "admin.system.users", "--as", "x"]);
    assert!(said.code == Some(2) && said.err.contains("mongorestore --archive"), "{said:?}");
}

#[test]
fn a_whole_database_is_one_archive_if_that_is_wished_and_comes_back_beside_itself() {
    let server = Mongo::start();
    server.say(SHOP);
    server.say(
        "for n in range(6): put('shop', 'big%d' % n, [{'_id': i, 'pad': 'x' * 1000} for i in range(3000)])",
    );
    let what = "target_dbs: [shop], target_collections: [all], exclude_collections: ['dots.*', big5], archive_of: database";
    let house = house(&[source(&server, what)]);
    house.start();
    assert_eq!(house.archives(0).keys().collect::<Vec<_>>(), ["shop"]);
    let found = read_archive(&house.dump("shop"));
    assert!(!found.contains("dots.in.it") && !found.contains("big5"), "{found}");
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let expected = server.fingerprint("shop");
    let expected: Vec<&str> =
        expected.lines().filter(|line| !line.contains("dots.in.it") && !line.contains("big5")).collect();
    assert_eq!(server.fingerprint("copy").lines().collect::<Vec<_>>(), expected);
    let said = house.run(&["restore", "db", "--target", "shop", "--as", "copy.x"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn a_collection_comes_out_plain_goes_elsewhere_and_over_nothing_that_is_there() {
    let server = Mongo::start();
    server.say("put('shop', 'item', [{'_id': i} for i in range(300)]); cmd('shop', {'create': 'view', 'viewOn': 'item', 'pipeline': []})");
    let mut house = house(&[source(&server, "target_dbs: [shop], target_collections: [item]")]);
    house.storages.push(house.path("second"));
    house.start();
    let said = house.run(&["restore", "db", "--target", "shop.item", "--stdout"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out == house.dump("shop/item"));
    let restore = |more: &[&str]| house.run(&[&["restore", "db", "--target", "shop.item"], more].concat());
    let said = restore(&["--as", "other.copy", "--dry-run"]);
    assert!(
        said.code == Some(0) && !server.say("print(cmd('admin', {'listDatabases': 1}))").contains("other"),
        "{said:?}"
    );
    for (place, collection) in [("other.copy", "copy"), ("third", "item")] {
        let said = restore(&["--as", place]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let db = place.split('.').next().unwrap();
        assert_eq!(server.say(&format!("print(len(docs({db:?}, {collection:?})))")), "300\n");
    }
    server.say("cmd('shop', {'drop': 'item'}); put('shop', 'item', [{'_id': 'new'}])");
    for place in ["shop.item", "shop.view"] {
        let said = restore(&["--as", place]);
        assert!(
            said.code == Some(1) && said.err.contains("is not empty") && said.err.contains("--overwrite"),
            "{said:?}"
        );
    }
    assert_eq!(server.say("print(len(docs('shop', 'item')))"), "1\n");
    // The first copy is damaged: what it brought goes, and the second one is taken.
    let path =
        house.storages[0].join(house.files(0).iter().find(|file| file.ends_with(".mongodump.gz")).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&path, bytes).unwrap();
    let said = restore(&["--as", "shop.item", "--overwrite"]);
    assert!(said.code == Some(0) && said.err.contains("second") || said.err.contains("local-2"), "{said:?}");
    assert_eq!(server.say("print(len(docs('shop', 'item')))"), "300\n");
    let said = restore(&["--into", "mongodb://nobody@127.0.0.1:1/x"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let said = restore(&["--into", "mongodb://u:secret@h/x"]);
    assert!(said.code == Some(2) && !said.err.contains("secret"), "{said:?}");
}

#[test]
fn bare_documents_that_version_2_stored_come_back() {
    let server = Mongo::start();
    server.say("put('shop', 'item', [{'_id': i} for i in range(10)])");
    let house = house(&[source(&server, "target_dbs: [shop], target_collections: [item]")]);
    let dir = house.storages[0].join("shop/item/daily");
    std::fs::create_dir_all(&dir).unwrap();
    let script = "print(b''.join(bson.encode({'_id': i, 'of': 'v2'}) for i in range(2000)).hex(), end='')";
    let hex = server.say(script);
    let bytes: Vec<u8> =
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    let path = dir.join("0-shop--item_2020-01-02_03-00.mongodump");
    std::fs::write(&path, bytes).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_577_934_000);
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    house.start();
    let args = ["restore", "db", "--target", "shop/item", "--at", "2020-01-02 12:00", "--as", "old.item"];
    let said = house.run(&args);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        server.say("print(len(docs('old', 'item')), bson.decode(docs('old', 'item')[1999]))"),
        "2000 {'_id': 1999, 'of': 'v2'}\n"
    );
}
