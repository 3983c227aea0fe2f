//! The checkpoints of a state: sealed, gone on from with their key alone.

use super::*;
use crate::seal::Key;
use crate::seal::stream::is_sealed;
use crate::state::vault::Keys;

fn vault(root: &Path, byte: u8) -> Vault {
    Vault::open(root, &Keys::Given(Key::new([byte; 32])), "state.json").unwrap()
}

fn sealed(root: &Path, byte: u8) -> Store {
    Store::sealed(&vault(root, byte), "training", "model".into())
}

#[test]
fn a_sealed_checkpoint_goes_on_to_the_same_bits_with_its_key_alone() {
    with_engine(|engine, examples, start| {
        let place = tempfile::tempdir().unwrap();
        let mut adapter = start.clone();
        let whole = finish(trainer(engine, examples, &mut adapter));
        let mut adapter = start.clone();
        let mut first = trainer(engine, examples, &mut adapter);
        let mut store = sealed(place.path(), 1);
        let mut states = Vec::new();
        for _ in 0..2 {
            advance(&mut first, 3);
            store.save(&first, Judged::default()).unwrap();
            states.push(state(&first));
        }
        let file = |slot: usize| place.path().join("training").join(FILES[slot]);
        assert!((0..2).all(|slot| is_sealed(&fs::read(file(slot)).unwrap())));
        let mut adapter = start.clone();
        let mut second = trainer(engine, examples, &mut adapter);
        let error = sealed(place.path(), 2).resume(&mut second, false).unwrap_err();
        assert!(error.is_of_another() && error.to_string().contains("another key"), "{error}");
        sealed(place.path(), 1).resume(&mut second, false).unwrap().unwrap();
        assert!(state(&second) == states[1]);
        assert!(finish(second) == whole);
        // A damaged one, and one in the other's place: the other generation is taken.
        for bytes in [vec![0x48; 9000], fs::read(file(0)).unwrap()] {
            fs::write(file(1), bytes).unwrap();
            let mut adapter = start.clone();
            let mut second = trainer(engine, examples, &mut adapter);
            let cut = sealed(place.path(), 1).resume(&mut second, false).unwrap().unwrap();
            assert!(cut.damaged.is_some_and(|why| why.starts_with("checkpoint.1 ")));
            assert!(state(&second) == states[0]);
        }
        let mut store = sealed(place.path(), 1);
        store.discard().unwrap();
        assert!(!place.path().join("training").exists());
    });
}
