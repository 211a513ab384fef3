//! `extra_keys` were arguments of `mongodump`. Those that say how the server is reached or how much is read at once are
//! understood here as well; all others need the program itself.

use nxs_base::spec::{MongodbSource, TlsMode};
use nxs_base::{Error, ErrorKind, Result};

/// Arguments that say nothing that matters here.
const QUIET: [&str; 4] = ["--quiet", "-v", "--verbose", "--forceTableScan"];
/// Arguments that would lead the output elsewhere, or show a password to everybody.
const REFUSED: [&str; 12] = [
    "--archive",
    "--out",
    "-o",
    "--gzip",
    "--password",
    "-p",
    "--uri",
    "--config",
    "--db",
    "-d",
    "--collection",
    "-c",
];

/// Moves what is understood into the settings. [`ErrorKind::Invalid`] for what only `mongodump` itself could do, or what
/// would spoil the dump.
pub(super) fn take(mut spec: MongodbSource) -> Result<MongodbSource> {
    let mut rest = std::mem::take(&mut spec.extra_keys).into_iter();
    let mut passed = Vec::new();
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument.clone(), None),
        };
        let is_short =
            |flag: &&str| flag.len() == 2 && argument.starts_with(*flag) && !argument.starts_with("--");
        if let Some(refused) = REFUSED.iter().find(|flag| **flag == name || is_short(flag)) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("extra_keys: `{refused}` cannot be used here"),
            ));
        }
        if spec.by_tool {
            passed.push(argument);
            continue;
        }
        if QUIET.contains(&name.as_str()) {
            continue;
        }
        let known =
            ["--authenticationDatabase", "--numParallelCollections", "-j", "--sslCAFile", "--sslPEMKeyFile"];
        let flags = ["--ssl", "--sslAllowInvalidCertificates", "--tlsInsecure"];
        if flags.contains(&name.as_str()) && value.is_none() {
            spec.connect.tls.mode = match (name.as_str(), spec.connect.tls.mode) {
                ("--ssl", TlsMode::Client | TlsMode::Off) => TlsMode::Verified,
                ("--ssl", mode) => mode,
                _ => TlsMode::Required,
            };
            continue;
        }
        if !known.contains(&name.as_str()) {
            let text = format!("extra_keys: `{}` is an argument of `mongodump`", name.escape_debug());
            return Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("Set `tool: mongodump` to have that program make the dump."));
        }
        let Some(value) = value.or_else(|| rest.next()) else {
            return Err(Error::new(ErrorKind::Invalid, format!("extra_keys: `{name}` needs a value")));
        };
        match name.as_str() {
            "--authenticationDatabase" => spec.connect.auth_db = Some(value),
            "--sslCAFile" => spec.connect.tls.ca = Some(value),
            "--sslPEMKeyFile" => spec.connect.tls.cert = Some(value),
            _ => match value.parse() {
                Ok(jobs @ 1..=64) => spec.jobs = jobs,
                _ => {
                    let text = format!("extra_keys: `{name}` is not a number of collections");
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
            },
        }
    }
    spec.extra_keys = passed;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(by_tool: bool, keys: &[&str]) -> Result<MongodbSource> {
        let extra_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        take(MongodbSource { by_tool, extra_keys, ..MongodbSource::default() })
    }

    #[test]
    fn what_the_old_program_was_told_about_the_server_is_understood() {
        let spec = taken(
            false,
            &["--authenticationDatabase", "users", "-j", "7", "--quiet", "--ssl", "--sslCAFile=/ca"],
        );
        let spec = spec.unwrap();
        assert_eq!((spec.connect.auth_db.as_deref(), spec.jobs), (Some("users"), 7));
        assert_eq!((spec.connect.tls.mode, spec.connect.tls.ca.as_deref()), (TlsMode::Verified, Some("/ca")));
        assert!(spec.extra_keys.is_empty());
    }

    #[test]
    fn what_would_spoil_a_dump_or_needs_the_program_is_refused() {
        for key in [
            "--archive=/x",
            "--out",
            "-o/x",
            "-psecret",
            "--password=secret",
            "--gzip",
            "--uri=mongodb://u:secret@h",
        ] {
            for by_tool in [false, true] {
                let error = taken(by_tool, &[key]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{key}");
                assert!(!error.to_string().contains("secret"), "{error:?}");
            }
        }
        let error = taken(false, &["--query={}"]).unwrap_err();
        assert_eq!(error.to_string(), "extra_keys: `--query` is an argument of `mongodump`");
        assert_eq!(
            taken(true, &["--readPreference=secondary"]).unwrap().extra_keys,
            ["--readPreference=secondary"]
        );
        assert!(taken(false, &["-j", "x"]).is_err() && taken(false, &["-j"]).is_err());
    }
}
