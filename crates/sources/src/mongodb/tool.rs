//! `tool: mongodump`: the program that is installed reads the server; its archive is taken apart on the way like ours.

use nxs_base::ports::source::{Cancel, DumpReport, Sink};
use nxs_base::secret::Secret;
use nxs_base::spec::{MongodbSource, TlsMode};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::{self, Tool};

use super::collections::Item;
use super::judged::Judged;
use super::server::Server;
use crate::stream;

/// Dumps these of one database; `others` are those that it holds beside them.
pub(super) fn run(
    (server, spec): (&Server, &MongodbSource),
    items: &[Item],
    others: &[Item],
    sink: &mut dyn Sink,
    cancel: &Cancel,
) -> Result<DumpReport> {
    let Some(first) = items.first() else {
        return Err(Error::new(ErrorKind::NotFound, "no collection is left to save"));
    };
    let path = program()?;
    let version = Tool::new(&path).arg("--version").output(64 << 10, cancel)?;
    let version = version_of(&String::from_utf8_lossy(&version));
    let mut tool = reach(Tool::new(&path), server)?.args(["--archive", "--quiet"]);
    tool = tool.arg(format!("--db={}", first.db));
    match items {
        [one] => tool = tool.arg(format!("--collection={}", one.name)),
        _ => {
            tool = tool.args(others.iter().map(|other| format!("--excludeCollection={}", other.name)));
            tool = tool.arg(format!("--numParallelCollections={}", spec.jobs.max(1)));
        }
    }
    let tool = tool.args(&spec.extra_keys);
    let mut sink = Judged::new(sink);
    let dumped = stream::pump(b"", tool, &mut sink, cancel)?;
    sink.finish()?;
    if sink.collections < items.len() as u64 {
        let text = format!("`mongodump` saved {} of {} collections", sink.collections, items.len());
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    let mut report = dumped.unmarked_report(&version);
    report.info.push(format!("{} documents of {} collections", sink.documents, sink.collections));
    Ok(report)
}

pub(super) fn program() -> Result<std::path::PathBuf> {
    child::find(&["mongodump"]).ok_or_else(|| {
        Error::new(ErrorKind::Tool, "`mongodump` is not there").with_hint(
            "Install the MongoDB Database Tools (`mongodb-database-tools`), or remove `tool: mongodump`.",
        )
    })
}

/// The first line is `mongodump version: 100.9.4`.
fn version_of(said: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    first.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Arguments that lead to the server; the password goes by a file in memory.
fn reach(mut tool: Tool, server: &Server) -> Result<Tool> {
    let connect = &server.connect;
    let host = connect.host.as_deref().unwrap_or("localhost");
    let host = match &connect.replica_set {
        Some(set) => format!("{set}/{host}"),
        None => host.to_owned(),
    };
    tool = tool.arg(format!("--host={host}"));
    if let Some(port) = connect.port {
        tool = tool.arg(format!("--port={port}"));
    }
    if let Some(user) = &connect.user {
        tool = tool.arg(format!("--username={user}"));
        let auth_db = connect.auth_db.as_deref().unwrap_or("admin");
        tool = tool.arg(format!("--authenticationDatabase={auth_db}"));
    }
    if let Some(password) = &connect.password {
        let password = (server.around.resolve)(password)?;
        let quoted = serde_json::to_string(password.expose())
            .map_err(|e| Error::new(ErrorKind::Other, "cannot write the password").with_source(e))?;
        let file = tool.secret_file(&Secret::new(format!("password: {quoted}\n")))?;
        tool = tool.arg(format!("--config={file}"));
    }
    let tls = &connect.tls;
    let has_files = tls.ca.is_some() || tls.cert.is_some();
    if matches!(tls.mode, TlsMode::Required | TlsMode::Verified) || tls.mode == TlsMode::Client && has_files {
        tool = tool.arg("--ssl");
        tool = tool.args(tls.ca.iter().map(|file| format!("--sslCAFile={file}")));
        tool = tool.args(tls.cert.iter().map(|file| format!("--sslPEMKeyFile={file}")));
        if tls.mode == TlsMode::Required {
            tool = tool.arg("--sslAllowInvalidCertificates");
        }
    }
    Ok(tool)
}
