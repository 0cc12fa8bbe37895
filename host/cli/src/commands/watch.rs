//! `watch`: the watch controller, with a table of scores if standard output is a terminal.

use std::io::{IsTerminal, Write, stdout};

use anyhow::Result;
use kube_devops_controllers::watch::{self, Scores, WatchOptions};
use kube_devops_core::report::NamespaceReport;
use kube_devops_engine::{Engine, Limits};

use super::{Outcome, controller};
use crate::arguments::{ClusterArguments, WatchArguments};
use crate::modules;
use crate::output;
use crate::terminal;

/// Moves the cursor home and clears the screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &WatchArguments) -> Result<Outcome> {
    let checks = modules::embedded(Engine::new(Limits::default())?)?.checks();
    let options = WatchOptions {
        address: arguments.addr,
        election: arguments.controller.election(&arguments.lease_name),
        system: arguments.controller.system(),
    };
    let is_watched = stdout().is_terminal();
    let changed = move |scores: Option<&Scores>| {
        if is_watched {
            // A failure to write to the terminal does not stop the controller.
            let _ = show(scores);
        }
    };
    controller::run(cluster, is_watched, controller::THREADS, async |connection, stop| {
        watch::run(&connection, &checks, options, changed, stop).await?;
        Ok(())
    })
}

/// Redraws the table.
fn show(scores: Option<&Scores>) -> std::io::Result<()> {
    let mut screen = CLEAR.as_bytes().to_vec();
    match scores {
        Some(scores) => {
            let cluster = NamespaceReport::new("(all)", scores.cluster());
            let namespaces = scores.namespaces().map(|(name, total)| NamespaceReport::new(name, total));
            let rows: Vec<NamespaceReport> = namespaces.chain([cluster]).collect();
            output::write_namespaces(&rows, terminal::colours(), terminal::width(), &mut screen)?;
        }
        None => writeln!(screen, "Another replica is the leader; this replica is on standby.")?,
    }
    let mut out = stdout().lock();
    out.write_all(&screen)?;
    out.flush()
}
