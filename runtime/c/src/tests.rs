//! The border from the other side: what C would call, called from Rust, where Miri can watch.
//!
//! Those that need a model take the image that `HOMESPUN_IMAGE` names, and are ignored unless asked for.

use core::ffi::{c_char, c_void};
use core::ptr::{null, null_mut};

use crate::flash::{HS_ERASE_BYTES, HS_WRITE_BYTES, hs_flash};
use crate::mission::*;
use crate::open::{hs_close, hs_device, hs_open};
use crate::place::{hs_flash_bytes, hs_memory_bytes};
use crate::setting::{hs_setting, hs_setting_small};
use crate::status::hs_status::{self, *};
use crate::text::{HS_ASSISTANT, HS_USER, hs_message};

/// Flash in memory, which only clears bits, and a device that its functions call.
struct Ram {
    bytes: Vec<u8>,
    /// Fails from now on with this.
    code: i32,
    device: *mut hs_device,
    answered: Vec<hs_status>,
}

impl Ram {
    fn new(capacity: usize) -> Self {
        Ram { bytes: vec![0xFF; capacity], code: 0, device: null_mut(), answered: Vec::new() }
    }

    fn flash(&mut self) -> hs_flash {
        let capacity = self.bytes.len() as u32;
        let context = (&raw mut *self).cast();
        hs_flash { context, capacity, read: Some(read), write: Some(write), erase: Some(erase) }
    }
}

unsafe extern "C" fn read(context: *mut c_void, offset: u32, bytes: *mut u8, length: usize) -> i32 {
    // SAFETY: the context is that of `Ram::flash`, the bytes are as many as are said.
    let (ram, bytes) =
        unsafe { (&mut *context.cast::<Ram>(), core::slice::from_raw_parts_mut(bytes, length)) };
    if !ram.device.is_null() {
        // SAFETY: it was given by `hs_open`.
        ram.answered.push(unsafe { hs_begin_anew(ram.device) });
    }
    bytes.copy_from_slice(&ram.bytes[offset as usize..][..length]);
    ram.code
}

unsafe extern "C" fn write(
    context: *mut c_void,
    offset: u32,
    bytes: *const u8,
    length: usize,
) -> i32 {
    // SAFETY: the context is that of `Ram::flash`, the bytes are as many as are said.
    let (ram, bytes) =
        unsafe { (&mut *context.cast::<Ram>(), core::slice::from_raw_parts(bytes, length)) };
    assert!((offset as usize).is_multiple_of(HS_WRITE_BYTES));
    assert!(length.is_multiple_of(HS_WRITE_BYTES));
    for (old, new) in ram.bytes[offset as usize..][..length].iter_mut().zip(bytes) {
        assert_eq!(*old & new, *new, "a bit is set");
        *old = *new;
    }
    ram.code
}

unsafe extern "C" fn erase(context: *mut c_void, from: u32, to: u32) -> i32 {
    // SAFETY: the context is that of `Ram::flash`.
    let ram = unsafe { &mut *context.cast::<Ram>() };
    ram.bytes[from as usize..to as usize].fill(0xFF);
    ram.code
}

unsafe extern "C" fn append(context: *mut c_void, text: *const c_char, length: usize) {
    // SAFETY: the context is a `Vec`, the text has as many bytes as are said.
    unsafe {
        let bytes = core::slice::from_raw_parts(text.cast::<u8>(), length);
        (*context.cast::<Vec<u8>>()).extend_from_slice(bytes);
    }
}

unsafe extern "C" fn append_message(context: *mut c_void, message: *const hs_message) {
    // SAFETY: the message is there, and the context is a `Vec`.
    unsafe { append(context, (*message).text, (*message).text_bytes) }
}

fn says(role: u32, text: &str) -> hs_message {
    hs_message { role, text: text.as_ptr().cast(), text_bytes: text.len() }
}

/// The image, at a multiple of 64 bytes.
struct Image {
    bytes: Vec<u8>,
    at: usize,
}

impl Image {
    fn read() -> Self {
        let path = std::env::var_os("HOMESPUN_IMAGE").expect("HOMESPUN_IMAGE names an image");
        let file = std::fs::read(path).unwrap();
        let mut bytes = vec![0; file.len() + 64];
        let at = bytes.as_ptr().align_offset(64);
        bytes[at..][..file.len()].copy_from_slice(&file);
        bytes.truncate(at + file.len());
        Image { bytes, at }
    }

    fn lent(&self) -> (*const u8, usize) {
        let bytes = &self.bytes[self.at..];
        (bytes.as_ptr(), bytes.len())
    }

    fn flash_bytes(&self, setting: &hs_setting) -> (usize, usize) {
        let (image, length) = self.lent();
        let (mut samples, mut adapter) = (0, 0);
        // SAFETY: all of these are what they are taken for.
        let status = unsafe { hs_flash_bytes(image, length, setting, &mut samples, &mut adapter) };
        assert_eq!(status, HS_OK);
        (samples, adapter)
    }

    fn memory_bytes(&self, setting: &hs_setting, samples: &hs_flash) -> usize {
        let ((image, length), mut bytes) = (self.lent(), 0);
        // SAFETY: all of these are what they are taken for.
        let status = unsafe { hs_memory_bytes(image, length, setting, samples, &mut bytes) };
        assert_eq!(status, HS_OK);
        bytes
    }
}

/// # Safety
/// As [`hs_open`].
unsafe fn open(
    memory: &mut [u8],
    image: &Image,
    setting: &hs_setting,
    flash: (&hs_flash, &hs_flash),
) -> Result<*mut hs_device, hs_status> {
    let (at, length) = image.lent();
    let mut device = null_mut();
    let (memory, bytes) = (memory.as_mut_ptr().cast(), memory.len());
    // SAFETY: that of this function.
    match unsafe { hs_open(memory, bytes, at, length, setting, flash.0, flash.1, &mut device) } {
        HS_OK => Ok(device),
        status => Err(status),
    }
}

#[test]
fn null_is_a_status_everywhere() {
    let (setting, mut bytes) = (hs_setting_small(), 0);
    let mut ram = Ram::new(HS_ERASE_BYTES);
    let flash = ram.flash();
    let no_read = hs_flash { read: None, ..flash };
    let none = null_mut();
    // SAFETY: null, or what they are taken for.
    unsafe {
        assert_eq!(hs_memory_bytes(null(), 9, &setting, &flash, &mut bytes), HS_NULL);
        assert_eq!(hs_memory_bytes(null(), 0, &setting, &no_read, &mut bytes), HS_IMAGE);
        assert_eq!(hs_flash_bytes(null(), 9, &setting, &mut bytes, &mut bytes), HS_NULL);
        let opened = hs_open(none, 0, null(), 0, &setting, &flash, &flash, null_mut());
        assert_eq!(opened, HS_NULL);
        let mut device = core::ptr::dangling_mut();
        let opened = hs_open(none, 0, null(), 0, &setting, &flash, &flash, &mut device);
        assert_eq!((opened, device), (HS_IMAGE, null_mut()));
        assert_eq!(hs_hear(device, null(), 0, null_mut()), HS_NULL);
        assert_eq!(hs_request(device, null_mut(), None, none), HS_NULL);
        assert_eq!(hs_answer(device, 0, HS_ACCEPT, null(), 0), HS_NULL);
        assert_eq!(hs_step(device, null_mut()), HS_NULL);
        assert_eq!(hs_save(device, null_mut()), HS_NULL);
        let replied = hs_reply(device, null(), 0, 1, 0.0, 0, None, none, null_mut());
        assert_eq!(replied, HS_NULL);
        assert_eq!(hs_forget(device, 0), HS_NULL);
        assert_eq!(hs_begin_anew(device), HS_NULL);
        assert_eq!(hs_erase_older(device), HS_NULL);
        assert_eq!(hs_stand(device, null_mut()), HS_NULL);
        assert_eq!(hs_close(device), HS_NULL);
    }
}

#[test]
fn a_driver_is_asked_for_whole_units_of_its_own_range() {
    use crate::flash::{Driver, Failed};
    use embedded_storage::nor_flash::{NorFlash, NorFlashErrorKind, ReadNorFlash};
    let mut ram = Ram::new(2 * HS_ERASE_BYTES);
    let flash = ram.flash();
    let odd = hs_flash { capacity: 100, ..flash };
    // SAFETY: the functions suit the context, which outlives the driver.
    unsafe {
        assert_eq!(Driver::new(&odd).err(), Some(HS_FLASH_SIZE));
        assert_eq!(Driver::new(&hs_flash { erase: None, ..flash }).err(), Some(HS_NULL));
        let mut driver = Driver::new(&flash).unwrap();
        let (outside, uneven) = (NorFlashErrorKind::OutOfBounds, NorFlashErrorKind::NotAligned);
        assert_eq!(driver.read(8190, &mut [0; 3]), Err(Failed::Range(outside)));
        assert_eq!(driver.write(16, &[0; 32]), Err(Failed::Range(uneven)));
        assert_eq!(driver.write(8192, &[0; 32]), Err(Failed::Range(outside)));
        assert_eq!(driver.erase(0, 100), Err(Failed::Range(uneven)));
        assert_eq!(driver.write(32, &[0; 64]), Ok(()));
        let mut seen = [1; 3];
        assert_eq!((driver.read(94, &mut seen), seen), (Ok(()), [0, 0, 0xFF]));
        (*flash.context.cast::<Ram>()).code = 5;
        assert_eq!(driver.erase(0, 4096), Err(Failed::Driver(5)));
    }
}

#[test]
#[ignore = "takes an image: HOMESPUN_IMAGE"]
fn a_device_is_busy_from_within_and_closed_afterwards() {
    // Small, as Miri is slow.
    let setting = hs_setting { rank: 1, bins: 1, text_bytes: 64, ..hs_setting_small() };
    let image = Image::read();
    let (samples_bytes, adapter_bytes) = image.flash_bytes(&setting);
    let (mut samples, mut adapter) = (Ram::new(samples_bytes), Ram::new(adapter_bytes));
    let flash = (samples.flash(), adapter.flash());
    let mut memory = vec![0xA5; image.memory_bytes(&setting, &flash.0) + 1];
    let mut standing = core::mem::MaybeUninit::uninit();
    // SAFETY: image, flash and memory outlive the device and are touched by nothing else, but for the
    // flash's own context, through the pointer that the functions get, and for memory that was closed.
    unsafe {
        let device = open(&mut memory[1..], &image, &setting, (&flash.0, &flash.1)).unwrap();
        let ram = flash.1.context.cast::<Ram>();
        (*ram).device = device;
        assert_eq!(hs_save(device, null_mut()), HS_OK);
        (*ram).device = null_mut();
        assert!((*ram).answered.iter().all(|status| *status == HS_BUSY));
        assert!(!(*ram).answered.is_empty());
        (*ram).code = -1;
        assert_eq!(hs_save(device, null_mut()), HS_FLASH);
        (*ram).code = 0;
        assert_eq!(hs_close(device), HS_OK);
        assert_eq!(hs_stand(device, standing.as_mut_ptr()), HS_CLOSED);
        assert_eq!(hs_close(device), HS_CLOSED);
        memory.fill(0x5A);
        let device = open(&mut memory, &image, &setting, (&flash.0, &flash.1)).unwrap();
        assert_eq!(hs_stand(device, standing.as_mut_ptr()), HS_OK);
        assert_eq!(standing.assume_init().saved, 1);
        assert_eq!(hs_close(device), HS_OK);
    }
}

#[test]
#[ignore = "takes an image: HOMESPUN_IMAGE"]
fn a_person_is_learned_in_lent_memory() {
    let (image, setting) = (Image::read(), hs_setting { context: 24, ..hs_setting_small() });
    let (samples_bytes, adapter_bytes) = image.flash_bytes(&setting);
    let (mut samples, mut adapter) = (Ram::new(samples_bytes), Ram::new(adapter_bytes));
    let flash = (samples.flash(), adapter.flash());
    let bytes = image.memory_bytes(&setting, &flash.0);
    // As C would have it: not aligned, and exactly as long as was said.
    let mut memory = vec![0xA5; bytes + 1];
    let memory = &mut memory[1..];
    let (question, reply) = ("Tea?", "Coffee.");
    let dialogue = [says(HS_USER, question), says(HS_ASSISTANT, reply)];
    let mut heard = core::mem::MaybeUninit::uninit();
    let mut stepped = core::mem::MaybeUninit::uninit();
    let (mut asked, mut said) = (Vec::<u8>::new(), [Vec::<u8>::new(), Vec::<u8>::new()]);
    let (mut bin, mut saved) = (9, 0);
    let asked_at = (&raw mut asked).cast();
    // SAFETY: image, flash and memory outlive the device and are touched by nothing else, but for the
    // flash's own context, through the pointer that the functions get.
    unsafe {
        let short = &mut memory[..bytes - 64];
        assert_eq!(open(short, &image, &setting, (&flash.0, &flash.1)), Err(HS_MEMORY));
        let device = open(memory, &image, &setting, (&flash.0, &flash.1)).unwrap();
        assert_eq!(hs_hear(device, dialogue.as_ptr(), 2, heard.as_mut_ptr()), HS_OK);
        assert_eq!((heard.assume_init().verdict, heard.assume_init().bin), (HS_STORED, 0));
        assert_eq!(hs_request(device, &mut bin, Some(append_message), asked_at), HS_OK);
        assert_eq!((bin, &asked[..]), (0, &b"Tea?Coffee."[..]));
        let (text, length) = (c"Mint tea.".as_ptr(), 9);
        assert_eq!(hs_answer(device, bin, HS_PREFER, text, length), HS_OK);
        assert_eq!(hs_answer(device, bin, HS_PREFER, null(), length), HS_NULL);
        assert_eq!(hs_answer(device, bin + 1, HS_PREFER, text, length), HS_NO_DIALOGUE);
        assert_eq!(hs_step(device, stepped.as_mut_ptr()), HS_OK);
        assert_eq!(stepped.assume_init().step, 1);
        assert_eq!(hs_save(device, &mut saved), HS_OK);
        let mut reply = |device, i: usize| {
            let (at, context) = (dialogue.as_ptr(), (&raw mut said[i]).cast());
            hs_reply(device, at, 1, 2, 0.5, 3, Some(append), context, null_mut())
        };
        assert_eq!(reply(device, 0), HS_OK);
        assert_eq!(hs_close(device), HS_OK);
        assert_eq!(hs_close(device), HS_CLOSED);
        memory.fill(0x5A);
        let device = open(memory, &image, &setting, (&flash.0, &flash.1)).unwrap();
        assert_eq!(reply(device, 1), HS_OK);
        let fails = flash.0.context.cast::<Ram>();
        (*fails).code = -1;
        assert_eq!(hs_hear(device, dialogue.as_ptr(), 2, heard.as_mut_ptr()), HS_FLASH);
        assert_eq!(hs_close(device), HS_OK);
    }
    assert_eq!((said[0] == said[1], saved), (true, 1));
}

#[test]
#[ignore = "takes an image: HOMESPUN_IMAGE"]
fn flash_is_as_large_as_was_said_and_not_smaller() {
    let (image, setting) = (Image::read(), hs_setting_small());
    let (samples_bytes, adapter_bytes) = image.flash_bytes(&setting);
    for (samples_less, adapter_less, status) in
        [(0, 0, HS_OK), (HS_ERASE_BYTES, 0, HS_FLASH_SIZE), (0, 2 * HS_ERASE_BYTES, HS_FLASH_SIZE)]
    {
        let mut samples = Ram::new(samples_bytes - samples_less);
        let mut adapter = Ram::new(adapter_bytes - adapter_less);
        let flash = (samples.flash(), adapter.flash());
        let mut memory = vec![0; image.memory_bytes(&setting, &flash.0)];
        // SAFETY: image, flash and memory outlive the device and are touched by nothing else.
        let opened = unsafe { open(&mut memory, &image, &setting, (&flash.0, &flash.1)) };
        match opened {
            // SAFETY: it was opened here.
            Ok(device) => assert_eq!((unsafe { hs_close(device) }, status), (HS_OK, HS_OK)),
            Err(found) => assert_eq!(found, status),
        }
    }
}

#[test]
#[ignore = "takes an image: HOMESPUN_IMAGE"]
fn texts_of_any_length_are_heard_or_refused() {
    let (image, setting) = (Image::read(), hs_setting_small());
    let (samples_bytes, adapter_bytes) = image.flash_bytes(&setting);
    let (mut samples, mut adapter) = (Ram::new(samples_bytes), Ram::new(adapter_bytes));
    let flash = (samples.flash(), adapter.flash());
    let mut memory = vec![0; image.memory_bytes(&setting, &flash.0)];
    let mut heard = core::mem::MaybeUninit::uninit();
    // SAFETY: image, flash, texts and memory outlive the device and are touched by nothing else.
    unsafe {
        let device = open(&mut memory, &image, &setting, (&flash.0, &flash.1)).unwrap();
        for (text, status) in [
            ("", HS_OK),
            ("é", HS_OK),
            (&"x ".repeat(200), HS_OK),
            (&"x".repeat(511), HS_OK),
            (&"x".repeat(512), HS_OK),
            (&"x".repeat(513), HS_TOO_LONG),
        ] {
            let mut bin = 0;
            let found = hs_hear(device, &says(HS_USER, text), 1, heard.as_mut_ptr());
            assert_eq!(found, status, "{} bytes", text.len());
            let mut said = Vec::<u8>::new();
            let context = (&raw mut said).cast();
            let message = says(HS_USER, text);
            let found =
                hs_reply(device, &message, 1, 64, 1.0, 0, Some(append), context, null_mut());
            assert!(matches!(found, HS_OK | HS_TOO_LONG), "{found:?} for {} bytes", text.len());
            let found = hs_request(device, &mut bin, Some(append_message), context);
            if found == HS_OK {
                let _ = hs_answer(device, bin, HS_ACCEPT, null(), 0);
                let mut stepped = core::mem::MaybeUninit::uninit();
                let found = hs_step(device, stepped.as_mut_ptr());
                assert!(matches!(found, HS_OK | HS_NOTHING_TO_LEARN), "{found:?}");
            }
        }
        let role = says(3, "x");
        assert_eq!(hs_hear(device, &role, 1, heard.as_mut_ptr()), HS_INVALID_ARGUMENT);
        assert_eq!(hs_hear(device, &role, 17, heard.as_mut_ptr()), HS_INVALID_ARGUMENT);
        assert_eq!(hs_close(device), HS_OK);
    }
}
