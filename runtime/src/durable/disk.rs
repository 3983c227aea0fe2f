//! The tests' double: a disk that may lose or reorder whatever was not synced.
//!
//! ```text
//! record   the real write runs in a folder; each operation is noted before it is done
//! replay   the first k operations reach the model; then the power is cut
//! states   of a file      what was synced, and of later writes any part: each lost, there, or zeroes,
//!                         the last one cut, the length grown or not
//!          of a folder    what was synced, and of later entries any, in any order; a rename is a new
//!                         entry and an old one that goes, each by itself
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Op;

/// An operation that was done, paths below the recorder's root.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Did {
    Create(PathBuf),
    CreateFolder(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncFolder(PathBuf),
}

/// Notes all operations below a folder.
pub(crate) struct Recorder {
    pub(crate) root: PathBuf,
    pub(crate) did: Vec<Did>,
}

impl Recorder {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), did: Vec::new() }
    }

    /// To be asked before each operation.
    pub(crate) fn note(&mut self, op: Op<'_>) -> io::Result<usize> {
        let below = |path: &Path| {
            path.strip_prefix(&self.root).expect("an operation outside of the root").to_path_buf()
        };
        self.did.push(match op {
            Op::Create(path) => Did::Create(below(path)),
            Op::CreateFolder(path) => Did::CreateFolder(below(path)),
            Op::Write(path, bytes) => Did::Write(below(path), bytes.to_vec()),
            Op::Sync(path) => Did::Sync(below(path)),
            Op::Rename(from, to) => Did::Rename(below(from), below(to)),
            Op::SyncFolder(path) => Did::SyncFolder(below(path)),
        });
        Ok(usize::MAX)
    }
}

/// A mistake that a durable write could make.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {
    NoSync,
    RenameBeforeWrite,
    NoFolderSync,
}

impl Bug {
    pub(crate) const ALL: [Bug; 3] = [Bug::NoSync, Bug::RenameBeforeWrite, Bug::NoFolderSync];

    /// What a write with this mistake would have done.
    pub(crate) fn plant(self, did: &[Did]) -> Vec<Did> {
        let without = |bad: fn(&Did) -> bool| did.iter().filter(|one| !bad(one)).cloned().collect();
        match self {
            Bug::NoSync => without(|one| matches!(one, Did::Sync(_))),
            Bug::NoFolderSync => without(|one| matches!(one, Did::SyncFolder(_))),
            Bug::RenameBeforeWrite => {
                let mut early: Vec<Did> = Vec::new();
                for (i, one) in did.iter().enumerate() {
                    let renamed = |path: &Path| {
                        did[i..].iter().find_map(|later| match later {
                            Did::Rename(from, to) if from == path => Some(to.clone()),
                            _ => None,
                        })
                    };
                    match one {
                        Did::Create(path) => {
                            early.push(one.clone());
                            early.extend(renamed(path).map(|to| Did::Rename(path.clone(), to)));
                        }
                        Did::Write(path, bytes) => {
                            let to = renamed(path).unwrap_or_else(|| path.clone());
                            early.push(Did::Write(to, bytes.clone()));
                        }
                        Did::Sync(path) => {
                            early.push(Did::Sync(renamed(path).unwrap_or_else(|| path.clone())));
                        }
                        Did::Rename(..) => {}
                        Did::CreateFolder(_) | Did::SyncFolder(_) => early.push(one.clone()),
                    }
                }
                early
            }
        }
    }
}

/// What is on a disk: files with their contents, folders with none.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Makes `tree` in the folder `root`, which is emptied first.
pub(crate) fn lay_out(tree: &Tree, root: &Path) {
    fs::remove_dir_all(root).ok();
    fs::create_dir_all(root).expect("root");
    for (path, contents) in tree {
        match contents {
            Some(bytes) => fs::write(root.join(path), bytes).expect("file"),
            None => fs::create_dir(root.join(path)).expect("folder"),
        }
    }
}

/// Every tree that a power cut may leave after the operations `did`.
pub(crate) fn after_a_cut(did: &[Did]) -> BTreeSet<Tree> {
    let mut disk = Disk { nodes: vec![Node::folder()] };
    did.iter().for_each(|one| disk.take(one));
    disk.trees(0)
}

struct Disk {
    /// The first is the root.
    nodes: Vec<Node>,
}

enum Node {
    File { synced: Vec<u8>, written: Vec<Vec<u8>> },
    Folder { synced: BTreeMap<String, usize>, changes: Vec<Change> },
}

#[derive(Clone)]
enum Change {
    Link(String, usize),
    Unlink(String),
}

impl Change {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Change::Link(name, node) => entries.insert(name.clone(), *node),
            Change::Unlink(name) => entries.remove(name),
        };
    }
}

impl Node {
    fn folder() -> Self {
        Node::Folder { synced: BTreeMap::new(), changes: Vec::new() }
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_str().expect("UTF-8").to_owned()
}

impl Disk {
    fn take(&mut self, did: &Did) {
        match did {
            Did::Create(path) => {
                self.link(path, Node::File { synced: Vec::new(), written: Vec::new() });
            }
            Did::CreateFolder(path) => self.link(path, Node::folder()),
            Did::Write(path, bytes) => {
                let node = self.find(path);
                let Node::File { written, .. } = &mut self.nodes[node] else { panic!("{path:?}") };
                // A short write may reach the disk in three parts that go each their way; of long
                // ones there are several.
                let parts = if bytes.len() < 4096 { 3 } else { 1 };
                let part = bytes.len().div_ceil(parts).max(1);
                written.extend(bytes.chunks(part).map(<[u8]>::to_vec));
                assert!(written.len() <= 6, "too many states");
            }
            Did::Sync(path) | Did::SyncFolder(path) => {
                let node = self.find(path);
                match &mut self.nodes[node] {
                    Node::File { synced, written } => synced.extend(written.drain(..).flatten()),
                    Node::Folder { synced, changes } => {
                        changes.drain(..).for_each(|change| change.apply(synced));
                    }
                }
            }
            Did::Rename(from, to) => {
                let node = self.find(from);
                self.change(to, Change::Link(name(to), node));
                self.change(from, Change::Unlink(name(from)));
            }
        }
    }

    fn link(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        self.change(path, Change::Link(name(path), self.nodes.len() - 1));
    }

    fn change(&mut self, path: &Path, change: Change) {
        let folder = self.find(path.parent().expect("a folder"));
        let Node::Folder { changes, .. } = &mut self.nodes[folder] else { panic!("{path:?}") };
        changes.push(change);
    }

    /// What a running process sees under a path.
    fn find(&self, path: &Path) -> usize {
        path.iter().fold(0, |folder, name| {
            let Node::Folder { synced, changes } = &self.nodes[folder] else { panic!("{path:?}") };
            let mut entries = synced.clone();
            changes.iter().for_each(|change| change.apply(&mut entries));
            entries[name.to_str().expect("UTF-8")]
        })
    }

    /// All that may be below the folder `node`.
    fn trees(&self, node: usize) -> BTreeSet<Tree> {
        let Node::Folder { synced, changes } = &self.nodes[node] else { panic!("no folder") };
        let mut all = BTreeSet::new();
        for entries in orders(changes, synced) {
            let mut trees = BTreeSet::from([Tree::new()]);
            for (name, &node) in &entries {
                let below: Vec<Tree> = match &self.nodes[node] {
                    Node::File { synced, written } => contents(synced, written)
                        .into_iter()
                        .map(|bytes| Tree::from([(name.into(), Some(bytes))]))
                        .collect(),
                    Node::Folder { .. } => {
                        let inside = |tree: Tree| {
                            let below = tree.into_iter();
                            let below =
                                below.map(|(path, bytes)| (Path::new(name).join(path), bytes));
                            below.chain([(name.into(), None)]).collect()
                        };
                        self.trees(node).into_iter().map(inside).collect()
                    }
                };
                let join = |tree: &Tree| {
                    let tree = tree.clone();
                    let with = move |one: &Tree| {
                        tree.iter().chain(one).map(|(k, v)| (k.clone(), v.clone())).collect()
                    };
                    below.iter().map(with).collect::<Vec<Tree>>()
                };
                trees = trees.iter().flat_map(join).collect();
            }
            all.extend(trees);
        }
        all
    }
}

/// The entries after any of the changes in any order.
fn orders(
    changes: &[Change],
    entries: &BTreeMap<String, usize>,
) -> BTreeSet<BTreeMap<String, usize>> {
    let mut all = BTreeSet::from([entries.clone()]);
    for i in 0..changes.len() {
        let mut rest = changes.to_vec();
        let mut entries = entries.clone();
        rest.remove(i).apply(&mut entries);
        all.extend(orders(&rest, &entries));
    }
    all
}

/// What may be in a file to which `written` was appended after `synced` had reached the disk.
fn contents(synced: &[u8], written: &[Vec<u8>]) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for mask in 0..1_u32 << written.len() {
        let (mut bytes, mut end) = (synced.to_vec(), synced.len());
        for (i, part) in written.iter().enumerate() {
            let there = mask >> i & 1 == 1;
            bytes.extend(part.iter().map(|&byte| if there { byte } else { 0 }));
            if there {
                end = bytes.len();
            }
        }
        all.insert(bytes[..synced.len() + (end - synced.len()) / 2].to_vec());
        all.insert(bytes[..end].to_vec());
        all.insert(bytes);
    }
    all
}
