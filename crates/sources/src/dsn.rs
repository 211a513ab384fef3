//! `mysql://user@host:port/NAME`: where a dump is put back, as it is said on a command line. Hence no password.

use nxs_base::{Error, ErrorKind, Result};

/// Its parts, percent escapes undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dsn {
    pub(crate) user: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) database: Option<String>,
}

impl Dsn {
    /// [`ErrorKind::Invalid`] for other schemes than these, and for anything that cannot be read.
    pub(crate) fn parse(text: &str, schemes: &[&str]) -> Result<Self> {
        let refuse = |why: &str, hint: String| {
            let error = Error::new(ErrorKind::Invalid, format!("--into: {why}"));
            Err(if hint.is_empty() { error } else { error.with_hint(hint) })
        };
        let form = || format!("Write `{}://user@host:port/NAME`.", schemes.first().unwrap_or(&"scheme"));
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("this is no address of a database", form());
        };
        if !schemes.contains(&scheme) {
            return refuse(
                &format!("backups of this job do not go into `{}`", scheme.escape_debug()),
                form(),
            );
        }
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match place.rsplit_once('@') {
            Some((user, host)) => (user, host),
            None => ("", place),
        };
        if user.contains(':') {
            let hint =
                "Everybody on this host can see the command line; set NXS_RESTORE_PASSWORD.".to_owned();
            return refuse("a password does not belong here", hint);
        }
        let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => host.rsplit_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
        };
        let port = match port.map(str::parse::<u16>).transpose() {
            Ok(port) if port != Some(0) => port,
            _ => return refuse("this is not a port number", form()),
        };
        let decoded = |part: &str| decode(part).filter(|part| !part.is_empty());
        Ok(Self { user: decoded(user), host: decoded(host), port, database: decoded(database) })
    }
}

/// Undoes percent escapes; none if that gives no text.
fn decode(text: &str) -> Option<String> {
    String::from_utf8(nxs_base::naming::unescape_component(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match Dsn::parse(text, &["mysql"]) {
            Ok(dsn) => format!("{:?} {:?} {:?} {:?}", dsn.user, dsn.host, dsn.port, dsn.database),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn addresses_are_taken_apart_and_passwords_refused() {
        assert_eq!(parsed("mysql://u@h:1/d"), r#"Some("u") Some("h") Some(1) Some("d")"#);
        assert_eq!(parsed("mysql://h"), r#"None Some("h") None None"#);
        assert_eq!(
            parsed("mysql://u%40x@[::1]:3307/a%2Fb"),
            r#"Some("u@x") Some("::1") Some(3307) Some("a/b")"#
        );
        assert_eq!(parsed("mysql:///d"), r#"None None None Some("d")"#);
        assert_eq!(parsed("mysql://u:secret@h/d"), "--into: a password does not belong here");
        assert_eq!(parsed("redis://h"), "--into: backups of this job do not go into `redis`");
        assert_eq!(parsed("shop"), "--into: this is no address of a database");
        assert_eq!(parsed("mysql://h:99999/x"), "--into: this is not a port number");
    }
}
