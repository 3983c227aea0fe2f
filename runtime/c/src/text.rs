//! What C calls by pointer and length, as Rust sees it: bytes, messages, and text on its way out.

use core::ffi::{c_char, c_void};
use core::fmt;

use homespun_runtime::samples::Message;

use crate::status::hs_status;

/// Who said a message: what the model is told to be. Not every template knows it.
pub const HS_SYSTEM: u32 = 0;
/// The person.
pub const HS_USER: u32 = 1;
/// The model.
pub const HS_ASSISTANT: u32 = 2;
/// The most messages of a dialogue that is given.
pub const HS_MOST_MESSAGES: usize = 16;

const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// A message of a dialogue: a role and UTF-8 that needs no NUL at its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct hs_message {
    /// `HS_SYSTEM`, `HS_USER` or `HS_ASSISTANT`.
    pub role: u32,
    /// The text; may be null where it has no bytes.
    pub text: *const c_char,
    /// Its bytes.
    pub text_bytes: usize,
}

impl hs_message {
    /// A message that is lent to C.
    pub(crate) fn lend(message: &Message<'_>) -> Self {
        let role = ROLES.iter().position(|role| *role == message.role);
        hs_message {
            role: role.map_or(HS_SYSTEM, |role| role as u32),
            text: message.content.as_ptr().cast(),
            text_bytes: message.content.len(),
        }
    }
}

/// Gets text as it comes: whole UTF-8 characters, no NUL at the end, there until it returns. It must not
/// call the device (it answers `HS_BUSY`) nor leave by `longjmp` or an exception.
pub type hs_text_sink =
    Option<unsafe extern "C" fn(context: *mut c_void, text: *const c_char, text_bytes: usize)>;

/// Gets a message, there until it returns. What it must not do is what an `hs_text_sink` must not.
pub type hs_message_sink =
    Option<unsafe extern "C" fn(context: *mut c_void, message: *const hs_message)>;

/// # Safety
/// `at` is null or followed by `length` bytes, which nobody writes to during `'a`.
pub(crate) unsafe fn bytes<'a>(at: *const u8, length: usize) -> Result<&'a [u8], hs_status> {
    if at.is_null() {
        return if length == 0 { Ok(&[]) } else { Err(hs_status::HS_NULL) };
    }
    if length > isize::MAX as usize {
        return Err(hs_status::HS_INVALID_ARGUMENT);
    }
    // SAFETY: it is not null, its bytes are there and nobody writes to them, by the contract above; the
    // length was checked.
    Ok(unsafe { core::slice::from_raw_parts(at, length) })
}

/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn text<'a>(at: *const c_char, length: usize) -> Result<&'a str, hs_status> {
    // SAFETY: the caller's contract is the same; a `c_char` is a byte.
    let bytes = unsafe { bytes(at.cast(), length)? };
    core::str::from_utf8(bytes).map_err(|_| hs_status::HS_INVALID_TEXT)
}

/// The messages of a dialogue that is given.
pub(crate) struct Given<'a> {
    messages: [Message<'a>; HS_MOST_MESSAGES],
    count: usize,
}

impl<'a> Given<'a> {
    /// # Safety
    /// `at` is null or leads to `count` messages, each of whose texts is null or followed by its bytes,
    /// and nobody writes to any of these during `'a`.
    pub unsafe fn new(at: *const hs_message, count: usize) -> Result<Self, hs_status> {
        if at.is_null() {
            return Err(hs_status::HS_NULL);
        }
        if !(1..=HS_MOST_MESSAGES).contains(&count) {
            return Err(hs_status::HS_INVALID_ARGUMENT);
        }
        let mut messages = [Message { role: "", content: "" }; HS_MOST_MESSAGES];
        for (i, message) in messages[..count].iter_mut().enumerate() {
            // SAFETY: there are `count` messages, and `i` is one of them.
            let hs_message { role, text: at, text_bytes } = unsafe { *at.add(i) };
            let role = ROLES.get(role as usize).ok_or(hs_status::HS_INVALID_ARGUMENT)?;
            // SAFETY: it is the text of one of the messages.
            *message = Message { role, content: unsafe { text(at, text_bytes)? } };
        }
        Ok(Given { messages, count })
    }

    pub fn messages(&self) -> &[Message<'a>] {
        &self.messages[..self.count]
    }
}

/// Writes `value` where the caller wants it.
///
/// # Safety
/// `to` is null or leads to memory for a `T` that nobody else uses.
pub(crate) unsafe fn give<T>(to: *mut T, value: T) -> Result<(), hs_status> {
    if to.is_null() {
        return Err(hs_status::HS_NULL);
    }
    // SAFETY: it is not null, so it leads to memory for a `T`; what was there is no value to drop.
    unsafe { to.write(value) };
    Ok(())
}

/// Hands text to the caller's function.
pub(crate) struct Sink {
    sink: unsafe extern "C" fn(*mut c_void, *const c_char, usize),
    context: *mut c_void,
}

impl Sink {
    /// # Safety
    /// `sink` is null or does with `context` what [`hs_text_sink`] says while this is used.
    pub unsafe fn new(sink: hs_text_sink, context: *mut c_void) -> Result<Self, hs_status> {
        sink.map(|sink| Sink { sink, context }).ok_or(hs_status::HS_NULL)
    }
}

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: by the contract of `new` the function suits its context; the text is there meanwhile.
        unsafe { (self.sink)(self.context, text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}
