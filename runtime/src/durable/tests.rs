//! Durable writes with a double that fails any one step, as a full disk or a cut would.

use super::*;

/// Fails the step number `fail`, counted from 0, and tells which that was.
fn failing(fail: usize, seen: &mut Option<Step>) -> impl FnMut(Op<'_>) -> io::Result<usize> {
    let mut count = 0;
    move |op| {
        count += 1;
        if count <= fail {
            return Ok(usize::MAX);
        }
        *seen = Some(seen.unwrap_or(op.step()));
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_and_no_temporary_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("state.json");
    write(&file, b"old").expect("first");
    write(&file, b"new").expect("second");
    assert_eq!(fs::read(&file).expect("read"), b"new");
    assert_eq!(names(folder.path()), ["state.json"]);
}

#[test]
fn what_cut_writes_left_is_swept_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    for name in [".state.json.71.0.tmp", ".hidden", "a.tmp", "state.json"] {
        fs::write(folder.path().join(name), "").expect(name);
    }
    fs::create_dir_all(folder.path().join(".0001.71.3.tmp/adapter")).expect("folder");
    fs::create_dir(folder.path().join(".0001.71.3.tmp.old")).expect("folder");
    sweep(folder.path()).expect("sweep");
    assert_eq!(names(folder.path()), [".hidden", "a.tmp", "state.json"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_by_one() {
    let folder = tempfile::tempdir().expect("folder");
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
    for path in [folder.path(), &socket] {
        let error = write(path, b"new").expect_err("no regular file");
        assert!(error.source.to_string().contains("no regular file"), "{error}");
    }
    assert_eq!(names(folder.path()), ["socket"]);
}

#[test]
fn whichever_step_fails_the_file_is_the_old_or_the_new_one() {
    let mut steps = Vec::new();
    for fail in 0.. {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("state.json");
        write(&file, b"old").expect("first");
        let mut seen = None;
        let result = write_with(&file, |out| out.write_all(b"new"), &mut failing(fail, &mut seen));
        let now = fs::read(&file).expect("read");
        assert_eq!(names(folder.path()), ["state.json"], "a temporary stayed");
        let Some(step) = seen else {
            assert!(result.is_ok() && now == b"new");
            break;
        };
        let error = result.expect_err("a failed step is an error");
        assert_eq!(error.step, step);
        assert!(error.to_string().contains("state.json"), "{error}");
        assert_eq!(now, if step == Step::SyncFolder { b"new" } else { b"old" });
        steps.push(step);
    }
    use Step::{Create, Rename, Sync, SyncFolder, Write};
    assert_eq!(steps, [Create, Write, Sync, Rename, SyncFolder]);
}

#[test]
fn whichever_step_fails_the_folder_is_the_old_or_the_new_one() {
    let old: [(&str, &[u8]); 2] = [("a", b"1"), ("b", b"1")];
    let new: [(&str, &[u8]); 2] = [("a", b"2"), ("b", b"2")];
    let mut failures = 0;
    for fail in 0.. {
        let folder = tempfile::tempdir().expect("folder");
        let out = folder.path().join("adapter");
        write_folder(&out, &old).expect("first");
        let mut seen = None;
        let result = write_folder_steps(&out, &new, &mut failing(fail, &mut seen));
        assert_eq!(names(folder.path()), ["adapter"], "a temporary stayed");
        let read = |name| fs::read(out.join(name)).expect("whole");
        assert_eq!(read("a"), read("b"), "half old, half new");
        let Some(step) = seen else {
            assert!(result.is_ok() && read("a") == b"2");
            break;
        };
        assert_eq!(result.expect_err("a failed step is an error").step, step);
        assert_eq!(read("a"), if step == Step::SyncFolder { b"2" } else { b"1" });
        failures += 1;
    }
    assert_eq!(failures, 10);
}

#[test]
fn whichever_step_fails_a_filled_folder_is_whole_or_not_there() {
    let mut steps = Vec::new();
    for fail in 0.. {
        let folder = tempfile::tempdir().expect("folder");
        let out = folder.path().join("model");
        let fill = |place: &Path| {
            fs::write(place.join("a"), b"1").expect("a");
            fs::write(place.join("b"), b"1").expect("b");
            Ok::<_, Error>(())
        };
        let mut seen = None;
        let result = fill_folder_steps(&out, fill, &mut failing(fail, &mut seen));
        let whole = result.is_ok() || seen == Some(Step::SyncFolder);
        let there = if whole { vec!["model".to_owned()] } else { Vec::new() };
        assert_eq!(names(folder.path()), there, "{seen:?}");
        if whole {
            assert_eq!(names(&out), ["a", "b"]);
        }
        let Some(step) = seen else { break };
        assert_eq!(result.expect_err("a failed step is an error").step, step);
        steps.push(step);
    }
    use Step::{Create, Rename, Sync, SyncFolder};
    assert_eq!(steps, [Create, Sync, Sync, Sync, Rename, SyncFolder]);
}

#[test]
fn a_folder_whose_filling_fails_or_that_holds_something_is_not_made() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("model");
    let full = || Error {
        file: out.clone(),
        step: Step::Write,
        source: io::ErrorKind::StorageFull.into(),
    };
    let half = |place: &Path| {
        fs::write(place.join("a"), b"1").expect("a");
        Err(full())
    };
    assert_eq!(fill_folder(&out, half).expect_err("half").step, Step::Write);
    assert_eq!(names(folder.path()), Vec::<String>::new());
    write_folder(&out, &[("letter", b"dear")]).expect("letter");
    fill_folder(&out, |_| -> Result<(), Error> { panic!("asked to fill") }).expect_err("full");
    assert_eq!(names(&out), ["letter"]);
}

#[test]
fn files_that_come_while_a_folder_is_made_stay_and_end_it() {
    // While it is filled, and between the last look and the rename.
    for late in [Step::Sync, Step::Rename] {
        for known in [&[][..], &[("a", &b"1"[..])]] {
            let folder = tempfile::tempdir().expect("folder");
            let out = folder.path().join("model");
            fs::create_dir(&out).expect("empty");
            let letter = || fs::write(out.join("letter"), b"dear");
            let mut before = |op: Op<'_>| {
                if op.step() == late {
                    letter()?;
                }
                Ok(usize::MAX)
            };
            let fill = |place: &Path| {
                fs::write(place.join("a"), b"2").expect("a");
                Ok::<_, Error>(())
            };
            let error = if known.is_empty() {
                fill_folder_steps(&out, fill, &mut before)
            } else {
                write_folder(&out, known).expect("first");
                write_folder_steps(&out, &[("a", b"2")], &mut before)
            };
            let error = error.expect_err("a letter came");
            assert!(error.source.to_string().contains("letter"), "{}", error.source);
            assert_eq!(fs::read(out.join("letter")).expect("kept"), b"dear");
            let there: &[&str] = if known.is_empty() { &["letter"] } else { &["a", "letter"] };
            assert_eq!(names(&out), there);
            assert_eq!(names(folder.path()), ["model"], "a temporary stayed");
        }
    }
}

#[test]
fn a_link_to_a_folder_is_replaced_and_its_folder_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let (mine, out) = (folder.path().join("mine"), folder.path().join("out"));
    write_folder(&mine, &[("a", b"1")]).expect("mine");
    std::os::unix::fs::symlink(&mine, &out).expect("link");
    write_folder(&out, &[("a", b"2")]).expect("out");
    assert_eq!(fs::read(mine.join("a")).expect("mine"), b"1");
    assert_eq!(fs::read(out.join("a")).expect("out"), b"2");
    assert_eq!(names(folder.path()), ["mine", "out"]);
}

#[test]
fn what_killed_runs_left_beside_a_folder_is_swept_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("model");
    let others = [
        ".model.71.tmp",
        ".model.71.3.tmp.old",
        ".model.71.x.tmp",
        ".model.v2.71.0.tmp",
        ".other.71.0.tmp",
        "model.71.0.tmp",
    ];
    let dead = [".model.1.0.tmp", ".model.4194999.12.tmp"];
    for name in others.iter().chain(&dead) {
        fs::create_dir(folder.path().join(name)).expect(name);
        fs::write(folder.path().join(name).join("a"), b"1").expect(name);
    }
    fs::write(folder.path().join(".model.71.9.tmp"), b"a file").expect("file");
    let fill = |place: &Path| {
        sweep_killed(&out).expect("sweep");
        assert!(place.is_dir(), "a run at work lost its folder");
        let left = names(folder.path());
        assert_eq!(left.len(), others.len() + 2, "{left:?}");
        assert!(dead.iter().all(|dead| left.iter().all(|name| name != dead)), "{left:?}");
        Ok::<_, Error>(())
    };
    fill_folder(&out, fill).expect("filled");
    assert!(sweep_killed(&folder.path().join("none/out")).is_err());
}

#[test]
fn folders_that_cannot_be_exchanged_are_replaced_in_two_steps() {
    let folder = tempfile::tempdir().expect("folder");
    let (new, path) = (folder.path().join("new"), folder.path().join("path"));
    write_folder(&path, &[("a", b"1")]).expect("old");
    assert!(exchange_in_steps(&new, &path).is_err(), "there is no new folder");
    assert_eq!(fs::read(path.join("a")).expect("kept"), b"1");
    write_folder(&new, &[("a", b"2")]).expect("new");
    exchange_in_steps(&new, &path).expect("replaced");
    assert_eq!(fs::read(path.join("a")).expect("read"), b"2");
    assert_eq!(fs::read(new.join("a")).expect("the old one, to be removed"), b"1");
    assert_eq!(names(folder.path()), ["new", "path"]);
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("letter.txt"), "dear").expect("letter");
    let error = write_folder(folder.path(), &[("a", b"1")]).expect_err("other files");
    assert!(error.source.to_string().contains("letter.txt"), "{}", error.source);
    assert!(check_folder(folder.path(), &["a"]).is_err());
    assert!(check_folder(folder.path(), &["letter.txt"]).is_ok());
    assert_eq!(names(folder.path()), ["letter.txt"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("file");
    for path in [file.join("state.json"), folder.path().join("none/state.json")] {
        let error = write(&path, b"new").expect_err("no such folder");
        assert_eq!((error.file.as_path(), error.step), (path.as_path(), Step::Create));
        assert!(write_folder(&path, &[("a", b"1")]).is_err());
        assert!(check_folder(&path, &["a"]).is_err());
    }
    assert_eq!(names(folder.path()), ["file"]);
    assert!(write(Path::new("/"), b"new").is_err());
}

#[test]
fn a_file_that_could_not_be_written_is_told_before_and_nothing_is_left() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("states.bin");
    check_file(&file).expect("room for it");
    check_file(folder.path()).expect_err("a folder");
    check_file(&folder.path().join("none/states.bin")).expect_err("no such folder");
    assert!(names(folder.path()).is_empty());
    fs::write(&file, "old").expect("old");
    check_file(&file).expect("room for it");
    assert_eq!(fs::read(&file).expect("read"), b"old");
    assert_eq!(names(folder.path()), ["states.bin"]);
}
