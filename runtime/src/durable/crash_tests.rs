//! A power cut after any operation of a durable write, on a disk that keeps only what was synced.

use super::disk::{Bug, Did, Recorder, Tree, after_a_cut};
use super::*;

/// Checks every tree that may be left after every operation: `known` tells which of two states it is
/// in, or what is wrong; at the end it must be in the new one.
fn check(
    did: &[Did],
    from: usize,
    known: impl Fn(&Tree) -> Result<bool, String>,
) -> Result<usize, String> {
    let mut count = 0;
    for done in from..=did.len() {
        for tree in after_a_cut(&did[..done]) {
            count += 1;
            let new = known(&tree).map_err(|wrong| format!("after {done} operations: {wrong}"))?;
            if done == did.len() && !new {
                return Err(format!("what was said to be written is lost: {:?}", tree.keys()));
            }
        }
    }
    Ok(count)
}

/// Has `write` done well, and badly in each way: only the first passes.
fn check_with_bugs(did: &[Did], from: usize, known: impl Fn(&Tree) -> Result<bool, String>) {
    let states = check(did, from, &known).expect("no state is bad");
    assert!(states > 2 * did.len(), "{states} states");
    for bug in Bug::ALL {
        let bad = [&did[..from], &bug.plant(&did[from..])].concat();
        assert_ne!(bad, did, "{bug:?} changes nothing");
        check(&bad, from, &known).expect_err(&format!("{bug:?} is not seen"));
    }
}

#[test]
fn a_file_is_the_old_or_the_new_one_after_a_cut_anywhere() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("state.json");
    let mut recorder = Recorder::new(folder.path());
    let (old, new) = (b"what was there before".to_vec(), b"what is there after it, whole".to_vec());
    let mut put = |bytes: &[u8]| {
        write_with(&file, |out| out.write_all(bytes), &mut |op| recorder.note(op)).expect("write");
        recorder.did.len()
    };
    let from = put(&old);
    put(&new);
    check_with_bugs(&recorder.did, from, |tree| match tree.get(Path::new("state.json")) {
        Some(Some(bytes)) if *bytes == old => Ok(false),
        Some(Some(bytes)) if *bytes == new => Ok(true),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_file_in_a_new_folder_is_whole_or_not_there_after_a_cut_anywhere() {
    let folder = tempfile::tempdir().expect("folder");
    let (inside, mut recorder) = (folder.path().join("a"), Recorder::new(folder.path()));
    make_folder(&inside, &mut |op| recorder.note(op)).expect("folder");
    let file = inside.join("b");
    write_with(&file, |out| out.write_all(b"whole"), &mut |op| recorder.note(op)).expect("file");
    check_with_bugs(&recorder.did, 0, |tree| match tree.get(Path::new("a/b")) {
        None => Ok(false),
        Some(Some(bytes)) if bytes == b"whole" => Ok(true),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_new_folder_is_whole_or_not_there_after_a_cut_anywhere() {
    let folder = tempfile::tempdir().expect("folder");
    let (out, mut recorder) = (folder.path().join("out"), Recorder::new(folder.path()));
    let fill: Fill<'_> = &|out| out.write_all(b"whole");
    let files = [("a", fill), ("b", fill)];
    write_folder_with(&out, &files, &mut |op| recorder.note(op)).expect("folder");
    let known = |tree: &Tree| {
        let is_whole = |name| tree.get(Path::new(name)) == Some(&Some(b"whole".to_vec()));
        match tree.contains_key(Path::new("out")) {
            false => Ok(false),
            true if is_whole("out/a") && is_whole("out/b") => Ok(true),
            true => Err(format!("{tree:?}")),
        }
    };
    assert!(check(&recorder.did, 0, known).expect("no state is bad") > 20);
    for bug in [Bug::NoSync, Bug::NoFolderSync] {
        check(&bug.plant(&recorder.did), 0, known).expect_err(&format!("{bug:?} is not seen"));
    }
}

#[test]
fn short_writes_are_gone_on_with() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("state.json");
    let mut writes = 0;
    let mut few = |op: Op<'_>| {
        writes += u32::from(matches!(op, Op::Write(..)));
        Ok(7)
    };
    write_with(&file, |out| out.write_all(&[5; 50]), &mut few).expect("write");
    assert_eq!((fs::read(&file).expect("read"), writes), (vec![5; 50], 8));
}
