//! Images of each version, kept as they were written: what is made today opens tomorrow.

use super::*;

/// The image that is kept in hexadecimal: rows of an address and 32 bytes, what is erased left out.
pub(in crate::samples) fn golden(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let length = lines.next().and_then(|line| line.strip_prefix("length ")?.parse().ok());
    let mut image = vec![0xFF; length.unwrap()];
    for line in lines.filter(|line| !line.is_empty()) {
        let (address, row) = line.split_once(' ').unwrap();
        let address = usize::from_str_radix(address, 16).unwrap();
        for (i, two) in row.as_bytes().chunks(2).enumerate() {
            let digits = core::str::from_utf8(two).unwrap();
            image[address + i] = u8::from_str_radix(digits, 16).unwrap();
        }
    }
    image
}

/// [`golden`] the other way.
fn hexadecimal(image: &[u8]) -> String {
    let mut text = format!("length {}\n", image.len());
    for (i, row) in image.chunks(32).enumerate().filter(|(_, row)| row.iter().any(|b| *b != 0xFF)) {
        let digits: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{:06x} {digits}\n", 32 * i));
    }
    text
}

const PLAIN: &str = include_str!("../../../../tests/golden/samples/v2.hex");
const SEALED: &str = include_str!("../../../../tests/golden/samples/v2_sealed.hex");
const KEY: u8 = 0x51;

/// What was done to the images: three dialogues, one of them replaced, another annotated, one removed.
fn made(sealed: bool) -> Vec<u8> {
    let mut flash = Ram::new(vec![0xFF; flash_bytes::<Ram>(4, 1)]);
    format(&mut flash, 4, sealed).unwrap();
    let index = vec![BinInfo::FREE; 5];
    let mut samples = match sealed {
        true => Buffer::mount_sealed(flash, index, seal(KEY, None)).unwrap(),
        false => Buffer::mount(flash, index).unwrap(),
    };
    for (id, bin) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 0)] {
        Dialogue::new(id, 2 + id as usize, 2).put(&mut samples, bin).unwrap();
    }
    samples.remove(2).unwrap();
    let mut scratch = [0; RECORD_BYTES];
    let sample = samples.read(1, &mut scratch).unwrap();
    samples.put(1, &Sample { preferred: Some("Rather s\u{fc}\u{df}."), ..sample }).unwrap();
    samples.into_parts().0.into_bytes()
}

fn check(mut samples: Buffer) {
    let used: Vec<usize> = samples.entries().map(|(bin, _)| bin).collect();
    assert_eq!((samples.bins(), &used[..], samples.damaged()), (4, &[0, 1, 3][..], 0));
    assert_eq!((samples.wear().slots, samples.wear().least), (5, 1));
    let mut scratch = [0; RECORD_BYTES];
    for (bin, id) in [(0, 5), (3, 4)] {
        let dialogue = Dialogue::new(id, 2 + id as usize, 2);
        assert!(dialogue.is(&samples.read(bin, &mut scratch).unwrap()), "bin {bin}");
    }
    let dialogue = Dialogue::new(2, 4, 2);
    let found = samples.read(1, &mut scratch).unwrap();
    assert_eq!(found.preferred, Some("Rather s\u{fc}\u{df}."));
    assert!(dialogue.is(&Sample { preferred: dialogue.preferred.as_deref(), ..found }));
}

#[test]
fn images_of_this_version_open() {
    let index = || vec![BinInfo::FREE; 5];
    check(Buffer::mount(Ram::new(golden(PLAIN)), index()).unwrap());
    let sealed = Ram::new(golden(SEALED));
    check(Buffer::mount_sealed(sealed, index(), seal(KEY, None)).unwrap());
    // A plain one is written so to this day.
    assert!(made(false) == golden(PLAIN), "what is written has changed: it is another version");
}

#[test]
fn a_newer_image_is_refused_and_an_older_one_is_for_its_own_reader() {
    let mut image = golden(PLAIN);
    image[8] = 3;
    let crc = crc::of(&image[..124]);
    image[124..128].copy_from_slice(&crc.to_le_bytes());
    let mounted = Buffer::mount(Ram::new(image), vec![BinInfo::FREE; 5]);
    assert_eq!(mounted.unwrap_err(), Error::Version { found: 3 });
    let old = golden(include_str!("../../../../tests/golden/samples/v1.hex"));
    let mounted = Buffer::mount(Ram::new(old), vec![BinInfo::FREE; 5]);
    assert_eq!(mounted.unwrap_err(), Error::Version { found: 1 });
}

#[test]
#[ignore = "writes the images that are kept, into the folder that HOMESPUN_GOLDEN names"]
fn write_images_of_this_version() {
    let folder = std::env::var("HOMESPUN_GOLDEN").expect("HOMESPUN_GOLDEN names a folder");
    for (name, sealed) in [("v2.hex", false), ("v2_sealed.hex", true)] {
        std::fs::write(format!("{folder}/{name}"), hexadecimal(&made(sealed))).unwrap();
    }
}
