//! The help: every command has one, with an example that its own options can parse.

use clap::{CommandFactory, Parser};
use homespun_runtime::cli::Cli;

use super::{Place, homespun};

#[test]
fn every_command_has_a_help_with_an_example_that_parses() {
    let names: Vec<String> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(names.len(), 29, "{names:?}");
    for name in names {
        let help = homespun(&[&name, "--help"]).fine().stdout;
        assert!(help.contains("--threads") && help.contains("--isa"), "{name}");
        assert!(help.contains("Example:\n  homespun "), "{name}: {help}");
        let after = help.split_once("Example:\n").expect("example").1;
        // A long example is wrapped; an empty line ends it.
        let lines: Vec<&str> =
            after.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let example = lines.join(" ");
        let (plain, quoted) = example.split_once('"').unwrap_or((&example, ""));
        let mut words: Vec<&str> = plain.split_whitespace().collect();
        words.extend(Some(quoted.trim_end_matches('"')).filter(|text| !text.is_empty()));
        if let Err(error) = Cli::try_parse_from(&words) {
            panic!("{words:?}: {error}");
        }
    }
    for (name, kv, activations) in [
        ("chat", "f16", "i8"),
        ("generate", "f16", "i8"),
        ("bench", "f16", "i8"),
        ("plan", "f16", "i8"),
        ("logits", "f32", "f32"),
        ("score", "f32", "f32"),
        ("evaluate", "f32", "f32"),
    ] {
        let help = homespun(&[name, "--help"]).fine().stdout;
        // Long lines are wrapped.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for (option, default) in [("--kv", kv), ("--activations", activations)] {
            let text = help.split_once(&format!("{option} <TYPE>")).expect(name).1;
            let text = text.split_once(']').expect("a default").0;
            assert!(text.ends_with(&format!("[default: {default}")), "{name} {option}: {text}");
        }
        assert_eq!(help.contains("the loss keeps none"), name == "evaluate", "{help}");
    }
    let all = homespun(&["--help"]).fine().stdout;
    assert!(all.contains("personalize") && all.contains("demo"), "{all}");
    homespun(&["nonsense"]).refused(&["nonsense"]);
    // Without a command, the list of them, which fits a screen.
    let none = homespun(&[]);
    assert!(none.code == Some(2) && none.stderr.contains("Usage"), "{none:?}");
    assert!(none.stderr.lines().count() <= 42 && none.stdout.is_empty(), "{none:?}");
}

#[test]
fn shells_and_readers_are_told_of_every_command() {
    let place = Place::new();
    let folder = place.path("man1");
    homespun(&["man", &folder]).fine();
    let page = homespun(&["man"]).fine().stdout;
    assert!(page.starts_with(".ie") || page.contains(".TH homespun 1"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let text = homespun(&["completions", shell]).fine().stdout;
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(text.contains(name), "{shell} is not told of {name}");
            let page = std::fs::read_to_string(format!("{folder}/homespun-{name}.1"));
            assert!(page.expect(name).contains("OPTIONS"), "{name}");
        }
    }
    homespun(&["completions", "tcsh"]).refused(&["tcsh"]);
}

#[test]
fn the_unit_of_systemd_runs_a_command_that_parses() {
    let unit = include_str!("../../boards/deploy/homespun.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("ExecStart");
    let words: Vec<&str> = line.split(' ').collect();
    assert!(words[0].ends_with("/homespun"));
    if let Err(error) = Cli::try_parse_from(&words) {
        panic!("{words:?}: {error}");
    }
    for line in ["ProtectSystem=strict", "User=homespun", "IOSchedulingClass=idle", "MemoryMax="] {
        assert!(unit.contains(line), "{line}");
    }
}
