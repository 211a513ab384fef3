//! One storage alone: `put CONF STORAGE put FILE` stores a file under its own name and replaces what is there,
//! `put CONF STORAGE get NAME` reads an object and throws it away. For measurements of storages without the program
//! around them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use nxs_base::ports::storage::{ObjectKey, PartTag};
use nxs_base::{Error, ErrorKind, Result};

fn run(args: &[String]) -> Result<()> {
    let invalid = |what: &str| Error::new(ErrorKind::Invalid, what.to_owned());
    let [config, name, verb, what] = args else {
        return Err(invalid("asked for `CONF STORAGE put FILE` or `CONF STORAGE get NAME`"));
    };
    let loaded = nxs_config::load(Path::new(config), nxs_config::Commands::Run);
    let spec = loaded.spec.ok_or_else(|| invalid("the configuration has errors"))?;
    let mut storages = spec.jobs.iter().flat_map(|job| &job.storages);
    let spec = storages.find(|s| s.name == *name).ok_or_else(|| invalid("there is no such storage"))?;
    let storage = nxs_storages::open(spec, nxs_config::secrets::resolve)?;
    let file_name = Path::new(what).file_name().unwrap_or_default().to_string_lossy();
    let key = ObjectKey::new(file_name)?;
    if verb == "get" {
        let copied = io::copy(&mut storage.get(&key, None)?, &mut io::sink());
        return copied.map(drop).map_err(|e| Error::from_io(format!("cannot read `{key}`"), e));
    }
    match storage.delete(&key) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        other => other?,
    }
    let mut file = File::open(what).map_err(|e| Error::io(format!("cannot open `{what}`"), e))?;
    let tag = PartTag { host: "bench".into(), run_id: format!("{:x}", std::process::id()) };
    storage.stage(&key, &tag, &mut file)?.commit()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody listens, the code tells.
            drop(io::stderr().write_all(format!("{}\n", error.chain()).as_bytes()));
            ExitCode::FAILURE
        }
    }
}
