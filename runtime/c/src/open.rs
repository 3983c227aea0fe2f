//! A device in the caller's memory: how it comes to be there, who may use it, and its end.
//!
//! ```text
//! hs_open   memory -> layers, index and arena, each its own range; the device, which borrows them; OPEN
//! a call    OPEN -> BUSY -> OPEN; a call from within finds BUSY, a panic leaves it
//! hs_close  CLOSED, and the memory is the caller's again
//! ```

use core::mem::MaybeUninit;

use homespun_core::arena::ALIGN;
use homespun_core::compute::Compute;
use homespun_core::weights::Layer;
use homespun_kernels::Kernels;
use homespun_runtime::device::{Device, Flash};
use homespun_runtime::image::Image;
use homespun_runtime::samples::BinInfo;

use crate::flash::{Driver, hs_flash};
use crate::place::Place;
use crate::setting::hs_setting;
use crate::status::hs_status;
use crate::text;

/// What a device borrows lives for as long as it is open, which is the caller's to see to: no lifetime of
/// Rust's says it, so it is `'static` here and does not leave these files.
pub(crate) type Opened = Device<'static, Driver>;

const OPEN: u32 = 0x4853_4F50;
const BUSY: u32 = 0x4853_4255;
const CLOSED: u32 = 0x4853_434C;

/// A model that learns a person. It lies in the memory that `hs_open` was given.
///
/// One call at a time: it may move between threads or tasks, but two of them must not call it at once.
pub struct hs_device {
    state: u32,
    device: MaybeUninit<Opened>,
}

const _: () = assert!(align_of::<hs_device>() <= ALIGN);
const _: () = assert!(align_of::<Layer<'_>>() <= ALIGN && align_of::<BinInfo>() <= ALIGN);

/// Opens what is in the flash, or begins: blank flash becomes an empty buffer. `device` is then what all
/// other functions take, and stays so until `hs_close`. On failure it becomes null, and the memory is the
/// caller's; what the flash holds is as it was, or blank samples were formatted.
///
/// # Safety
/// Pointers are null or lead to what they say, `memory` and `image` to as many bytes as are said. Until
/// `hs_close`, the memory is touched by nothing but the device, the image is read where it lies and does
/// not change, and the two flashes, whose functions and contexts stay as they are, are different ranges
/// that nothing else writes to. The settings and `hs_flash` themselves are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_open(
    memory: *mut core::ffi::c_void,
    memory_bytes: usize,
    image: *const u8,
    image_bytes: usize,
    setting: *const hs_setting,
    samples: *const hs_flash,
    adapter: *const hs_flash,
    device: *mut *mut hs_device,
) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    hs_status::of((|| unsafe {
        text::give(device, core::ptr::null_mut())?;
        let image = Image::open(text::bytes(image, image_bytes)?)?;
        let setting = hs_setting::read(setting)?;
        let (samples, adapter) = (Driver::new(samples)?, Driver::new(adapter)?);
        let place = Place::of(image.config(), &setting, &samples).ok_or(hs_status::HS_MEMORY)?;
        let room = Room::carve(memory.cast(), memory_bytes, place)?;
        let flash = Flash { samples, adapter, seal: None };
        let compute = Compute::serial(Kernels::detect());
        let (layers, slots, arena) = (room.layers, room.slots, room.arena);
        let opened = Device::open(image, layers, slots, arena, flash, setting, compute)?;
        room.device.write(hs_device { state: OPEN, device: MaybeUninit::new(opened) });
        text::give(device, room.device)
    })())
}

/// The caller's memory, carved.
struct Room {
    device: *mut hs_device,
    layers: &'static mut [Layer<'static>],
    slots: &'static mut [BinInfo],
    arena: &'static mut [u8],
}

impl Room {
    /// # Safety
    /// `memory` is null or leads to `bytes` bytes that nothing else touches while what is carved is used.
    unsafe fn carve(memory: *mut u8, bytes: usize, place: Place) -> Result<Self, hs_status> {
        if memory.is_null() {
            return Err(hs_status::HS_NULL);
        }
        let skip = memory.align_offset(ALIGN);
        let Some(left) = bytes.checked_sub(skip).filter(|left| *left <= isize::MAX as usize) else {
            return Err(hs_status::HS_MEMORY);
        };
        let Place { layers, layers_at, slots, slots_at, arena, arena_at } = place;
        let Some(arena_bytes) = left.checked_sub(arena_at).filter(|rest| *rest >= arena) else {
            return Err(hs_status::HS_MEMORY);
        };
        // SAFETY: `skip` of `bytes` bytes are there, as the subtraction showed.
        let start = unsafe { memory.add(skip) };
        // SAFETY: every part lies in the `left` bytes from `start` on, which are the caller's: `Place` puts
        // one behind the other, and the last, of `arena_bytes`, ends where the memory ends. So each is a
        // range of its own. They begin at multiples of `ALIGN`, which all of their types divide. Layers and
        // index are written before there is a slice of them, and the arena is zeroed, so that there is
        // nothing in it that was never written. Nobody else touches them, by the contract above.
        unsafe {
            let first_layer = start.add(layers_at).cast::<Layer<'static>>();
            let first_slot = start.add(slots_at).cast::<BinInfo>();
            (0..layers).for_each(|i| first_layer.add(i).write(Layer::empty()));
            (0..slots).for_each(|i| first_slot.add(i).write(BinInfo::FREE));
            let first_byte = start.add(arena_at);
            first_byte.write_bytes(0, arena_bytes);
            Ok(Room {
                device: start.cast(),
                layers: core::slice::from_raw_parts_mut(first_layer, layers),
                slots: core::slice::from_raw_parts_mut(first_slot, slots),
                arena: core::slice::from_raw_parts_mut(first_byte, arena_bytes),
            })
        }
    }
}

/// Lets `act` use the device, unless it is closed or at work.
///
/// # Safety
/// `device` is null or was given by `hs_open`, whose contract holds; since it was closed, its memory was
/// not written to. No other thread is in a call of it.
pub(crate) unsafe fn with(
    device: *mut hs_device,
    act: impl FnOnce(&mut Opened) -> Result<(), hs_status>,
) -> hs_status {
    if device.is_null() {
        return hs_status::HS_NULL;
    }
    // SAFETY: a device lies there, or did and its state is left; both are fields of it. No reference to
    // the whole is made, so that a call from within reads the state beside the one that is in use.
    let (state, opened) = unsafe { (&raw mut (*device).state, &raw mut (*device).device) };
    // SAFETY: as above; no other thread is here.
    match unsafe { state.read() } {
        OPEN => {}
        BUSY => return hs_status::HS_BUSY,
        _ => return hs_status::HS_CLOSED,
    }
    // SAFETY: as above.
    unsafe { state.write(BUSY) };
    // SAFETY: it was open, so `hs_open` wrote it and `hs_close` did not drop it. It is not in use: that
    // state is left only when the borrow that is made here is over. What it borrows itself lies beside it.
    let result = act(unsafe { (*opened).assume_init_mut() });
    // SAFETY: as above.
    unsafe { state.write(OPEN) };
    hs_status::of(result)
}

/// Ends the use of a device: from here on the memory, the image and the flashes are the caller's again, and
/// the pointer must not be used. Nothing is written; what was not saved is gone. Where the memory was not
/// written to since, a later call is told `HS_CLOSED`.
///
/// # Safety
/// `device` is null or was given by `hs_open`. No other thread is in a call of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_close(device: *mut hs_device) -> hs_status {
    // SAFETY: what the caller of this function vouches for. What is dropped was open and is not used
    // again: the state is written behind the borrow.
    unsafe {
        let status = with(device, |_| Ok(()));
        if status == hs_status::HS_OK {
            (&raw mut (*device).state).write(CLOSED);
            core::ptr::drop_in_place((&raw mut (*device).device).cast::<Opened>());
        }
        status
    }
}
