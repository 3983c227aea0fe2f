//! The real binary, run as a user runs it: what it prints, how it ends, what it leaves on the disk.
//!
//! ```text
//! cargo's target folder/PROFILE/homespun          the binary
//!                               deps/all-HASH     this test
//! ```
//! `cargo test --workspace` builds both. Where only this test was built, the binary is built first.

mod bad_dialogues;
mod bad_disk;
mod bad_model;
mod bad_options;
mod bench;
mod binary;
mod chat;
mod demo;
mod device;
mod doctor;
mod experiment;
mod forget;
mod guard;
mod help;
mod identity;
mod interrupt;
mod live;
mod merge;
mod moving;
mod personalize;
mod plan;
mod quantise;
mod queue;
mod sealed;
mod serve;
mod serve_learns;
mod serve_load;
mod tools;
mod train;
mod unplug;

use core::time::Duration;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use homespun_runtime::builtin::{self, Size};
use homespun_runtime::dialogue::Dialogue;
use homespun_runtime::personalize::buffer::Buffer;
use homespun_runtime::state::rounds::ROUNDS;
use homespun_runtime::state::vault::Keys;
use homespun_runtime::state::{SAMPLES, State};
use serde_json::Value;
use tempfile::TempDir;

/// No command of these tests takes this long, whatever else the machine does.
const LIMIT: Duration = Duration::from_secs(300);

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

/// Runs `homespun ARGS` with an empty standard input.
pub fn homespun(args: &[&str]) -> Run {
    run(binary::command().args(args))
}

/// Runs a command with an empty standard input, for at most [`LIMIT`].
pub fn run(command: &mut Command) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    fn all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).expect("pipe");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
    let stdout = all(child.stdout.take().expect("piped"));
    let stderr = all(child.stderr.take().expect("piped"));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().expect("kill");
            panic!("{command:?} still runs after {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let (stdout, stderr) = (stdout.join().expect("stdout"), stderr.join().expect("stderr"));
    Run { code: status.code(), stdout, stderr }
}

impl Run {
    /// The command ended well.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The command ended with an error whose message holds each of `parts`, without a panic and
    /// without a result.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> Self {
        assert!(matches!(self.code, Some(1 | 2)), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not said: {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert!(self.stderr.len() < 2000, "more than a screen: {self:?}");
        assert!(!self.stdout.contains('{'), "a result in spite of the error: {self:?}");
        self
    }

    /// The JSON object in the last line.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.json_lines().pop().expect("a line")
    }

    /// A JSON object a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }
}

/// The JSON objects in `text`, other lines left out.
#[track_caller]
pub fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// A key's number.
#[track_caller]
pub fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

/// A folder for one test.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        crate::small_model::put(self.0.path(), name, contents);
        self.path(name)
    }

    /// Writes dialogues as JSON Lines.
    pub fn dialogues(&self, name: &str, dialogues: &[Dialogue]) -> String {
        let lines: Vec<String> = dialogues.iter().map(Dialogue::to_json).collect();
        self.file(name, lines.join("\n"))
    }

    /// The first `dialogues` of a small stream of the built-in user.
    pub fn stream(&self, name: &str, dialogues: usize) -> String {
        self.dialogues(name, &builtin::stream(7, Size::QUICK).dialogues[..dialogues])
    }

    /// A folder that holds the built-in model as Hugging Face lays it out.
    pub fn model(&self) -> String {
        let folder = self.0.path().join("model");
        fs::create_dir(&folder).expect("folder");
        for (name, bytes) in [
            ("config.json", builtin::CONFIG),
            ("generation_config.json", builtin::GENERATION_CONFIG),
            ("tokenizer.json", builtin::TOKENIZER),
            ("tokenizer_config.json", builtin::TOKENIZER_CONFIG),
            ("chat_template.jinja", builtin::CHAT_TEMPLATE.as_bytes()),
            ("model.safetensors", builtin::WEIGHTS),
        ] {
            fs::write(folder.join(name), bytes).expect(name);
        }
        self.path("model")
    }

    /// The names in it, sorted, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

/// The names in a folder, sorted, hidden ones too.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The state in `folder`, opened with the key of these tests.
#[track_caller]
pub fn open(folder: &str) -> State {
    State::open(folder.as_ref(), &Keys::File(binary::key())).expect("state")
}

/// [`contents`] of a state as they were before they were sealed, without the lock; of the image what
/// is in its bins.
#[track_caller]
pub fn plain(folder: &str) -> Vec<(String, Vec<u8>)> {
    let state = open(folder);
    let names =
        contents(folder).into_iter().map(|(path, _)| path.replace(&format!("{folder}/"), ""));
    let names = names.filter(|name| name != "lock");
    let read = |name: String| {
        if name == SAMPLES {
            return (name, bins(&state));
        }
        let bytes = state.vault().read(&name).expect("it opens").expect("it is there").to_vec();
        (name, bytes)
    };
    names.map(read).collect()
}

/// [`plain`], but for what is of no run like another: the times of rounds.
#[track_caller]
pub fn opened(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = plain(folder);
    for (name, bytes) in &mut files {
        if name == ROUNDS {
            *bytes = without_times(bytes);
        }
    }
    files
}

/// What became of rounds, but for when they were, how long they took and what that cost.
fn without_times(rows: &[u8]) -> Vec<u8> {
    let rows = String::from_utf8_lossy(rows);
    let rows = rows.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).expect("a row");
        let fields = row.as_object_mut().expect("an object");
        fields.retain(|name, _| !["at", "seconds", "joules"].contains(&&**name));
        row.to_string()
    });
    rows.collect::<Vec<_>>().join("\n").into_bytes()
}

/// What is in each bin of a state's buffer.
#[track_caller]
fn bins(state: &State) -> Vec<u8> {
    let mut buffer = Buffer::open(state, 0).expect("the buffer opens");
    let held = buffer.read_all(|error| panic!("{error}"));
    let scores = buffer.entries().map(|(bin, header)| (bin, header.scores));
    format!("{held:?} {:?}", scores.collect::<Vec<_>>()).into_bytes()
}

/// Every file below a folder with its contents.
pub fn contents(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![Path::new(folder).to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push((path.display().to_string(), fs::read(&path).expect("file")));
            }
        }
    }
    all.sort();
    all
}
