//! `help`: the help of the program or of a command, and the tables of exit codes and (for the manual) of all keys.

use clap::CommandFactory;

use crate::app::{Env, said};
use crate::cli::Cli;
use crate::exit::{self, Exit};

pub(crate) fn run(env: &Env, topic: Option<&str>, markdown: bool) -> Exit {
    let mut root = Cli::command();
    root.build();
    let text = match topic {
        None => root.render_help().to_string(),
        Some("config") if markdown => nxs_config::markdown(),
        Some("exit-codes") if markdown => exit::markdown(),
        Some("exit-codes") => exit::text(),
        Some(name) => match root.find_subcommand_mut(name) {
            Some(command) => command.render_help().to_string(),
            None => {
                env.console.say(&format!("there is no help on `{name}`"));
                env.console
                    .say("try `nxs-backup help`, `nxs-backup help COMMAND` or `nxs-backup help exit-codes`");
                return Exit::Usage;
            }
        },
    };
    said(env, env.console.data(&text), Exit::Complete)
}
