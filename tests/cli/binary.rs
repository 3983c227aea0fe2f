//! Where the binary is: beside this test, built anew where it is missing or older than its source.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The binary's path.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = env::current_exe().expect("this test's own path");
        let profile = test.parent().and_then(Path::parent).expect("PROFILE/deps/all-HASH");
        let path = profile.join(format!("homespun{}", env::consts::EXE_SUFFIX));
        if modified(&path).is_none_or(|built| built < sources()) {
            build(profile);
        }
        assert!(path.exists(), "{}: cargo built it elsewhere", path.display());
        path
    })
}

/// The binary, ready to be given arguments, with its keys where no person's are.
pub fn command() -> Command {
    at_home(Command::new(path()))
}

/// A command that runs the binary, with the same keys.
pub fn at_home(mut command: Command) -> Command {
    command.env("XDG_CONFIG_HOME", config());
    command
}

/// The key file of what the binary makes here.
pub fn key() -> PathBuf {
    config().join("homespun/key")
}

/// This process's own folder of configurations.
fn config() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let name = format!("config-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Of an earlier process of that number.
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).expect("folder");
        path
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// When a file that the binary is made of last changed.
fn sources() -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut folders: Vec<PathBuf> =
        ["kernels/src", "core/src", "boards", "runtime/src"].map(|at| root().join(at)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("source folder") {
            let path = entry.expect("entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => newest = newest.max(modified(&path).expect("source file")),
            }
        }
    }
    newest
}

fn build(profile: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    // Of the whole workspace, as the tests are: with other features it would all be compiled again.
    cargo.current_dir(root()).args(["build", "--workspace", "--bin", "homespun"]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "homespun cannot be built: {status}");
}
