//! What a pair does when nothing goes wrong, and what it refuses.

use super::*;
use crate::flash::faulty::Broken;
use crate::plant;

#[test]
fn content_of_every_length_is_read_again_and_replaced_in_turn() {
    for sealed in [false, true] {
        let mut pair = mount(flash::<1, 4, 256>(4), 4, sealed).unwrap();
        assert_eq!(read(&mut pair), Err(Error::Empty));
        let capacity = pair.capacity();
        assert_eq!(capacity, 4 * 256 - HEADER_BYTES);
        for (id, length) in [0, 1, 63, 64, 65, 500, capacity - 1, capacity].into_iter().enumerate()
        {
            let header = write(&mut pair, id, length).unwrap();
            assert_eq!((header.generation, header.length), (id as u64 + 1, length as u32));
            // What was never erased is taken to be as worn as the other half.
            assert!(header.erases.abs_diff(id as u32 / 2 + 1) <= 1, "halves wear evenly");
            assert_eq!(read(&mut pair), Ok(content(id, length)));
            pair = mount(pair.into_flash(), 4, sealed).unwrap();
            assert_eq!(pair.info(), Some(&header));
            assert_eq!(read(&mut pair), Ok(content(id, length)));
            assert_eq!(pair.verify(), Ok(()));
            assert_eq!(pair.other_info().is_some(), id > 0);
            assert!(!pair.is_damaged());
        }
        let mut write = pair.begin([0; 8]).unwrap();
        write.push(&vec![7; capacity]).unwrap();
        let (needed, available) = (capacity + 1, capacity);
        assert_eq!(write.push(&[1]), Err(Error::TooLong { needed, available }));
        write.commit().unwrap();
        let bytes = pair.flash().bytes();
        assert!(bytes[..256].iter().chain(&bytes[9 * 256..]).all(|byte| *byte == 0xFF));
    }
}

#[test]
fn no_words_of_sealed_content_lie_in_the_flash() {
    let words = |sealed| {
        let mut pair = mount(flash::<1, 4, 256>(4), 4, sealed).unwrap();
        write(&mut pair, 1, 300).unwrap();
        let found = pair.flash().bytes().windows(8).any(|eight| eight == &WORDS[..8]);
        (found, read(&mut pair) == Ok(content(1, 300)))
    };
    assert_eq!((words(false), words(true)), ((true, true), (false, true)));
    assert!(plant::with(Bug::TextPlain, || words(true)).0);
}

#[test]
fn what_is_sealed_opens_with_its_key_and_in_its_generation_alone() {
    let mut pair = mount(flash::<1, 4, 256>(2), 2, true).unwrap();
    let old = write(&mut pair, 1, 200).unwrap();
    let image = pair.into_flash();
    let range = range::<256>(2);
    let mut blind = Pair::<_>::mount(image.clone(), range.clone()).unwrap();
    assert_eq!((blind.info().copied(), blind.verify()), (Some(old), Ok(())));
    assert_eq!(blind.read(0, &mut [0; 4]), Err(Error::Sealed));
    assert_eq!(blind.begin([0; 8]).err(), Some(Error::Sealed));
    let name = old.key().unwrap();
    let mut other = Pair::<_>::mount_sealed(image.clone(), range.clone(), seal(2, None)).unwrap();
    assert_eq!(other.read(0, &mut [0; 4]), Err(Error::Key { name }));
    let mut both = Pair::<_>::mount_sealed(image, range.clone(), seal(2, Some(1))).unwrap();
    assert_eq!(read(&mut both), Ok(content(1, 200)));
    // The same content under another generation or kind, with the CRC of its header made right.
    for forged in [Header { generation: 9, ..old }, Header { kind: [9; 8], ..old }] {
        let mut image = both.flash().clone();
        image.bytes_mut()[256..][..HEADER_BYTES].copy_from_slice(&forged.bytes());
        let mut pair = mount(image, 2, true).unwrap();
        assert_eq!((pair.info().copied(), pair.open()), (Some(forged), Err(Error::Corrupt)));
    }
    let mut plain = mount(flash::<1, 4, 256>(2), 2, false).unwrap();
    write(&mut plain, 1, 200).unwrap();
    let mut pair = mount(plain.into_flash(), 2, true).unwrap();
    assert_eq!(read(&mut pair), Err(Error::Plain), "anyone could have written it");
    write(&mut pair, 2, 200).unwrap();
    assert_eq!(read(&mut pair), Ok(content(2, 200)));
}

#[test]
fn ranges_and_flash_that_do_not_suit_are_refused() {
    let refused = |range: Range<u32>| {
        let flash = FaultyFlash::<1, 4, 256>::new(1024);
        matches!(Pair::<_>::mount(flash, range), Err(Error::Range { .. }))
    };
    assert!(!refused(0..512) && !refused(256..768) && !refused(0..1024));
    for range in [0..256, 0..768, 256..1280, 0..500, 100..612, 512..512] {
        assert!(refused(range.clone()), "{range:?}");
    }
    let (from, to) = (512, 0);
    assert!(refused(from..to));
    let flash = FaultyFlash::<1, 1024, 4096>::new(8192);
    assert_eq!(Pair::<_>::mount(flash, 0..8192).err(), Some(Error::Geometry));
    let tiny = FaultyFlash::<1, 4, 64>::new(1024);
    assert!(matches!(Pair::<_>::mount(tiny, 0..128), Err(Error::Range { .. })), "only a header");
    let mut pair = mount(FaultyFlash::<1, 4, 256>::new(2048), 2, false).unwrap();
    write(&mut pair, 1, 10).unwrap();
    let behind = Error::Behind { asked: 11, length: 10 };
    assert_eq!(pair.read(8, &mut [0; 3]), Err(behind));
    assert!(pair.read(u32::MAX, &mut [0; 3]).is_err());
    assert_eq!(pair.fall_back(), Err(Error::Empty));
}

#[test]
fn blocks_that_break_are_told_and_cost_no_content() {
    for how in [Broken::Erase, Broken::Write, Broken::WriteSilently, Broken::Bit, Broken::Read] {
        let mut pair = mount(flash::<1, 4, 256>(2), 2, true).unwrap();
        write(&mut pair, 1, 300).unwrap();
        // In the second half, where content will be: a bit that should be set is not.
        pair.flash().broken = vec![(4, how)];
        let failed = (2..22).filter(|&id| write(&mut pair, id, 300).is_err()).count();
        assert!(failed == 20 || how == Broken::Bit && failed > 0, "{how:?}: {failed}");
        if failed == 20 {
            assert_eq!(read(&mut pair), Ok(content(1, 300)), "{how:?}");
            let mut pair = mount(pair.into_flash(), 2, true).unwrap();
            assert_eq!(read(&mut pair), Ok(content(1, 300)), "{how:?}");
        }
    }
    let unread = plant::with(Bug::Unverified, || {
        let mut pair = mount(flash::<1, 4, 256>(2), 2, false).unwrap();
        pair.flash().broken = vec![(2, Broken::WriteSilently)];
        (write(&mut pair, 1, 300).is_ok(), read(&mut pair))
    });
    assert_eq!(
        unread,
        (true, Err(Error::Corrupt)),
        "what is not read back is lost when it is read"
    );
}

#[test]
fn a_read_that_fails_once_costs_no_content() {
    let mut pair = mount(flash::<1, 4, 256>(4), 4, false).unwrap();
    write(&mut pair, 1, 700).unwrap();
    let image = pair.into_flash();
    for fails in 0..40 {
        let mut flash = image.clone();
        flash.read_fails = Some(fails);
        let mut pair = mount(flash, 4, false).unwrap();
        assert_eq!(pair.info().map(|header| header.generation), Some(1));
        let expected = if write(&mut pair, 2, 700).is_ok() { 2 } else { 1 };
        let first = read(&mut pair);
        let second = if first.is_ok() { first } else { read(&mut pair) };
        assert_eq!(second, Ok(content(expected, 700)), "read {fails}");
    }
}

#[test]
fn a_write_that_is_dropped_changes_nothing_that_counts() {
    let mut pair = mount(flash::<1, 4, 256>(2), 2, false).unwrap();
    write(&mut pair, 1, 100).unwrap();
    write(&mut pair, 2, 100).unwrap();
    let mut begun = pair.begin([3; 8]).unwrap();
    begun.push(&[3; 200]).unwrap();
    assert_eq!(begun.length(), 200);
    drop(begun);
    assert_eq!((read(&mut pair), pair.other_info().copied()), (Ok(content(2, 100)), None));
    let mut pair = mount(pair.into_flash(), 2, false).unwrap();
    assert_eq!((read(&mut pair), pair.other_info().copied()), (Ok(content(2, 100)), None));
    let header = write(&mut pair, 3, 100).unwrap();
    assert!(header.generation > 2 && header.erases >= 2, "{header:?}");
}

#[test]
fn what_is_older_is_erased_when_it_is_to_be_forgotten() {
    let mut pair = mount(flash::<1, 4, 256>(4), 4, false).unwrap();
    write(&mut pair, 1, 300).unwrap();
    write(&mut pair, 2, 300).unwrap();
    let words = |pair: &mut Pair<Faulty<1, 4, 256>>| {
        pair.flash().bytes().windows(8).filter(|eight| eight == &&WORDS[..8]).count()
    };
    let both = words(&mut pair);
    pair.erase_older().unwrap();
    assert!(words(&mut pair) < both && pair.other_info().is_none());
    assert_eq!(read(&mut pair), Ok(content(2, 300)));
    assert_eq!(pair.fall_back().unwrap_err(), Error::Empty);
    let mut again = mount(pair.into_flash(), 4, false).unwrap();
    assert_eq!(read(&mut again), Ok(content(2, 300)));
    write(&mut again, 3, 300).unwrap();
    assert_eq!(read(&mut again), Ok(content(3, 300)));
}
