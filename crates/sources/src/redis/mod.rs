//! Redis and Valkey: the data of one server as the RDB that it sends to a replica, taken by `redis-cli --rdb -`. `check`
//! judges it as it passes. A server is not written to: the way back is a file for its data directory, by `--stdout`.

mod check;

use nxs_base::ports::source::{Cancel, DumpReport, Sink, Source, Target};
use nxs_base::spec::{RedisSource as RedisSpec, TlsMode};
use nxs_base::{Error, ErrorKind, Result, naming};
use nxs_sys::child::{self, Tool};

use crate::registry::Surroundings;
use crate::stream;
use check::Checked;

/// Dumps one server.
#[derive(Debug)]
pub struct RedisSource {
    spec: RedisSpec,
    around: Surroundings,
}

/// What the client says of a transfer that goes well.
const USUAL: [&str; 3] = ["sending REPLCONF ", "SYNC sent to ", "Transfer finished with success"];

impl RedisSource {
    /// Asks nobody anything.
    pub fn new(spec: RedisSpec, around: Surroundings) -> Self {
        Self { spec, around }
    }

    /// The client, with the way to the server.
    fn tool(&self) -> Result<Tool> {
        let Some(program) = child::find(&["redis-cli", "valkey-cli"]) else {
            let text = "neither `redis-cli` nor `valkey-cli` is there";
            return Err(Error::new(ErrorKind::Tool, text).with_hint("Install it, on Debian `redis-tools`."));
        };
        let (connect, mut tool) = (&self.spec.connect, Tool::new(program));
        match (&connect.host, &connect.socket) {
            (Some(host), _) => {
                let port = connect.port.unwrap_or(6379).to_string();
                tool = tool.args(["-h", host, "-p", &port]);
            }
            (None, Some(socket)) => tool = tool.args(["-s", socket]),
            (None, None) => {}
        }
        if let Some(user) = &connect.user {
            tool = tool.args(["--user", user]);
        }
        match connect.tls.mode {
            TlsMode::Client | TlsMode::Off => {}
            TlsMode::Required => tool = tool.args(["--tls", "--insecure"]),
            TlsMode::Verified => tool = tool.arg("--tls"),
        }
        let files =
            [("--cacert", &connect.tls.ca), ("--cert", &connect.tls.cert), ("--key", &connect.tls.key)];
        for (key, file) in files {
            if let Some(file) = file {
                tool = tool.args([key, file]);
            }
        }
        if let Some(password) = &connect.password {
            tool = tool.secret_env("REDISCLI_AUTH", (self.around.resolve)(password)?);
        }
        Ok(tool)
    }

    fn place(&self) -> String {
        let connect = &self.spec.connect;
        match (&connect.host, &connect.socket) {
            (None, Some(socket)) => format!("the server at `{socket}`"),
            (host, _) => {
                let host = host.as_deref().unwrap_or("127.0.0.1");
                format!("the server at `{host}:{}`", connect.port.unwrap_or(6379))
            }
        }
    }

    fn version(&self) -> Result<String> {
        let said = self.tool()?.arg("--version").output(4096, &Cancel::new())?;
        Ok(String::from_utf8_lossy(&said).trim().trim_start_matches("redis-cli ").to_owned())
    }

    /// Gives the words of the client the kind and the hint that they ask for.
    fn judged(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Tool {
            return error;
        }
        let said = error.chain();
        let named = |kind| Error::new(kind, format!("{}: {said}", self.place()));
        if ["WRONGPASS", "NOAUTH", "AUTH failed"].iter().any(|word| said.contains(word)) {
            named(ErrorKind::Denied).with_hint("Check `db_user` and `db_password`.")
        } else if said.contains("NOPERM") {
            named(ErrorKind::Denied).with_hint("docs/databases.md lists the rights that the user needs.")
        } else if said.contains("Could not connect") {
            named(ErrorKind::Other)
                .with_hint("Check `db_host`, `db_port` or `socket`, and that the server runs.")
        } else {
            error
        }
    }
}

impl Source for RedisSource {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        let name = naming::plain_target("redis");
        Ok(vec![Ok(Target {
            name: "redis".to_owned(),
            part: name.part,
            file_stem: name.stem,
            extension: "rdb".to_owned(),
            root: "redis".to_owned(),
        })])
    }

    fn probe(&self, _target: &Target) -> Result<()> {
        let said = self.tool()?.arg("PING").output(4096, &Cancel::new()).map_err(|e| self.judged(e))?;
        let said = String::from_utf8_lossy(&said);
        if said.trim() == "PONG" {
            return Ok(());
        }
        let text = format!("`redis-cli`: `PING` is answered by `{}`", said.trim().escape_debug());
        Err(self.judged(Error::new(ErrorKind::Tool, text)))
    }

    fn dump(&self, _target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let version = self.version()?;
        let mut checked = Checked::new(sink);
        let tool = self.tool()?.args(["--rdb", "-"]);
        let dumped = stream::pump(&[], tool, &mut checked, cancel).map_err(|e| self.judged(e))?;
        let has_sum = checked.finish()?;
        let mut report = dumped.unmarked_report(&version);
        report.warnings.retain(|line| !USUAL.iter().any(|usual| line.contains(usual)));
        if !has_sum {
            report
                .info
                .push("the server makes no checksum (`rdbchecksum no`): only the end was checked".to_owned());
        }
        Ok(report)
    }
}
