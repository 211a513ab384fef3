//! `generate`: writes a commented job file for a job type and storages. The text comes from `nxs_config`.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nxs_base::spec::{JobKind, StorageKind};
use nxs_base::{Error, Result};

use crate::app::Env;
use crate::cli::GenerateArgs;
use crate::exit::Exit;

pub(crate) fn run(env: &Env, args: &GenerateArgs) -> Exit {
    let Some(kind) = nxs_config::job_kind(&args.kind) else {
        let known: Vec<&str> = JobKind::ALL.iter().map(|k| k.name()).collect();
        env.console.say(&format!("`{}` is not a type of job; there are: {}", args.kind, known.join(", ")));
        return Exit::Usage;
    };
    let mut storages = Vec::new();
    for name in args.storages.iter().flat_map(|s| s.split(',')).filter(|s| !s.is_empty()) {
        let Some(storage) = StorageKind::ALL.into_iter().find(|k| k.name() == name) else {
            let known: Vec<&str> = StorageKind::ALL.iter().map(|k| k.name()).collect();
            env.console.say(&format!("`{name}` is not a type of storage; there are: {}", known.join(", ")));
            return Exit::Usage;
        };
        storages.push(storage);
    }
    match write(&args.path, &nxs_config::generate(kind, &storages)) {
        Ok(()) => {
            let path = args.path.display();
            env.console.say(&format!("Successfully generated '{path}' configuration file!"));
            Exit::Complete
        }
        Err(error) => {
            env.console.say_error(&error);
            Exit::Failed
        }
    }
}

/// Writes the file (0600, it will hold passwords), replacing what is there; makes missing directories.
fn write(path: &Path, text: &str) -> Result<()> {
    let tried = |e| Error::io(format!("cannot write `{}`", path.display()), e);
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(tried)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(tried)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(tried)?;
    file.write_all(text.as_bytes()).map_err(tried)
}
