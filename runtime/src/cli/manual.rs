//! `homespun completions` and `homespun man`: for shells and for readers.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Print what makes a shell complete commands and options
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun completions bash\n\nPut what it prints where your shell looks: for bash, ~/.local/share/bash-completion/completions/homespun."
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Write the manual: a page for the program and one for each command
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder to write, made if it is not there; without one the program's own page is printed
    folder: Option<PathBuf>,
}

pub(crate) fn completions(args: CompletionsArgs) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "homespun", &mut text);
    Ok(std::io::stdout().lock().write_all(&text).map_err(|error| format!("stdout: {error}"))?)
}

pub(crate) fn man(args: ManArgs) -> Outcome {
    let command = Cli::command();
    match args.folder {
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            std::io::stdout()
                .lock()
                .write_all(&text)
                .map_err(|error| format!("stdout: {error}"))?;
        }
        Some(folder) => {
            let wrong = |error| format!("{}: {error}", folder.display());
            fs::create_dir_all(&folder).map_err(wrong)?;
            clap_mangen::generate_to(command, &folder).map_err(wrong)?;
        }
    }
    Ok(())
}
