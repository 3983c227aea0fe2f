//! What a device does: hear, ask, be answered, learn, save, reply, forget.
//!
//! Each function checks what it is given, lets the device do it, and writes what came of it.

use core::ffi::{c_char, c_void};

use homespun_core::sampler::Sampling;
use homespun_core::select::Verdict;
use homespun_runtime::device::Answer;

use crate::open::{hs_device, with};
use crate::status::hs_status;
use crate::text::{Given, Sink, give, hs_message, hs_message_sink, hs_text_sink, text};

/// The dialogue was not kept.
pub const HS_DROPPED: u32 = 0;
/// It was put into a free bin.
pub const HS_STORED: u32 = 1;
/// It was put in the place of another.
pub const HS_REPLACED: u32 = 2;

/// The domain of a text without a word of a lexicon.
pub const HS_GENERAL: u32 = 0xFFFF;

/// The reply was good: it is learned.
pub const HS_ACCEPT: u32 = 0;
/// The text would have been better: it is learned.
pub const HS_PREFER: u32 = 1;
/// Not now: it is not asked about again.
pub const HS_SKIP: u32 = 2;

/// What became of a dialogue.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct hs_heard {
    /// Its number, from 0.
    pub arrival: u64,
    /// `HS_DROPPED`, `HS_STORED` or `HS_REPLACED`.
    pub verdict: u32,
    /// Its bin, unless it was dropped.
    pub bin: u32,
    /// Entropy of its embedding.
    pub entropy: f32,
    /// How much of it is of a domain.
    pub domain_score: f32,
    /// How unlike it is to those of its domain in the buffer.
    pub dissimilarity: f32,
    /// The place of the domain's lexicon, or `HS_GENERAL`.
    pub domain: u32,
    /// Tokens that were scored.
    pub tokens: u32,
}

/// What a step did.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct hs_stepped {
    /// Its number, from 1.
    pub step: u64,
    /// Mean loss over the targets before the step, in nats.
    pub loss: f64,
    /// The gradient's norm before it was clipped.
    pub norm: f64,
    /// Tokens that were learned.
    pub targets: u32,
    /// Tokens that were read.
    pub tokens: u32,
}

/// How a device stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct hs_standing {
    /// Steps of the adapter.
    pub steps: u64,
    /// The number of the last save; 0 where nothing was saved.
    pub saved: u64,
    /// Dialogues in the buffer.
    pub dialogues: u32,
    /// Those that were answered, which steps learn from.
    pub answered: u32,
    /// The most bytes of the arena that were used so far.
    pub used_bytes: usize,
}

/// Scores a dialogue and keeps it or not. Once this returns, what was kept is durable.
///
/// # Safety
/// Pointers are null or lead to what they say, messages to as many as are said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_hear(
    device: *mut hs_device,
    messages: *const hs_message,
    count: usize,
    heard: *mut hs_heard,
) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe {
        with(device, |device| {
            let given = Given::new(messages, count)?;
            not_null(heard)?;
            let found = device.hear(given.messages())?;
            let (observed, scores) = (found.observed, found.observed.scores);
            let verdict = match observed.verdict {
                Verdict::Drop => HS_DROPPED,
                Verdict::Store(_) => HS_STORED,
                Verdict::Replace(_) => HS_REPLACED,
            };
            let became = hs_heard {
                arrival: found.arrival,
                verdict,
                bin: observed.verdict.bin().unwrap_or(0) as u32,
                entropy: scores.entropy,
                domain_score: scores.domain_score,
                dissimilarity: scores.dissimilarity,
                domain: u32::from(scores.domain.0),
                tokens: scores.tokens,
            };
            give(heard, became)
        })
    }
}

/// The oldest dialogue that nobody was asked about: its bin, and its messages, oldest first, to `sink`.
/// `HS_NOTHING_TO_ASK` where there is none.
///
/// # Safety
/// Pointers are null or lead to what they say; `sink` does what its type says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_request(
    device: *mut hs_device,
    bin: *mut u32,
    sink: hs_message_sink,
    context: *mut c_void,
) -> hs_status {
    // SAFETY: what the caller of this function vouches for; a message is there while the sink has it.
    unsafe {
        with(device, |device| {
            not_null(bin)?;
            let sink = sink.ok_or(hs_status::HS_NULL)?;
            let request = device.request()?.ok_or(hs_status::HS_NOTHING_TO_ASK)?;
            for message in request.sample.messages.iter() {
                sink(context, &hs_message::lend(&message));
            }
            give(bin, request.bin as u32)
        })
    }
}

/// Keeps what the person says of the dialogue in `bin`: `HS_ACCEPT`, `HS_PREFER` with a text, or `HS_SKIP`.
/// The text of the others is not read. Once this returns, it is durable.
///
/// # Safety
/// Pointers are null or lead to what they say; `preferred` is followed by its bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_answer(
    device: *mut hs_device,
    bin: u32,
    answer: u32,
    preferred: *const c_char,
    preferred_bytes: usize,
) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe {
        with(device, |device| {
            let answer = match answer {
                HS_ACCEPT => Answer::Accept,
                HS_PREFER => Answer::Preferred(text(preferred, preferred_bytes)?),
                HS_SKIP => Answer::Skip,
                _ => return Err(hs_status::HS_INVALID_ARGUMENT),
            };
            Ok(device.answer(bin as usize, answer)?)
        })
    }
}

/// One step of training over what was answered. Nothing of it is durable before `hs_save`.
///
/// # Safety
/// Pointers are null or lead to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_step(device: *mut hs_device, stepped: *mut hs_stepped) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe {
        with(device, |device| {
            not_null(stepped)?;
            let step = device.step()?;
            let did = hs_stepped {
                step: step.step,
                loss: step.loss,
                norm: step.norm,
                targets: step.targets as u32,
                tokens: step.rows as u32,
            };
            give(stepped, did)
        })
    }
}

/// Makes the adapter and its training durable: the old or the new, wherever the power is cut. `number` may
/// be null; it is that of this save, from 1.
///
/// # Safety
/// Pointers are null or lead to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_save(device: *mut hs_device, number: *mut u64) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe {
        with(device, |device| {
            let saved = device.save()?;
            if number.is_null() { Ok(()) } else { give(number, saved) }
        })
    }
}

/// Writes the reply to a dialogue to `sink` as it comes: at most `most_tokens`, or what the context has
/// room for. Temperature 0 takes the likeliest token and no seed; above, the same seed gives the same
/// reply. `tokens` may be null; it is how many there were.
///
/// # Safety
/// Pointers are null or lead to what they say, messages to as many as are said; `sink` does what its type
/// says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_reply(
    device: *mut hs_device,
    messages: *const hs_message,
    count: usize,
    most_tokens: u32,
    temperature: f32,
    seed: u64,
    sink: hs_text_sink,
    context: *mut c_void,
    tokens: *mut u32,
) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe {
        with(device, |device| {
            let given = Given::new(messages, count)?;
            let mut sink = Sink::new(sink, context)?;
            let sampling = Sampling { temperature, ..Sampling::default() };
            let most = most_tokens as usize;
            let count = device.reply(given.messages(), sampling, seed, most, &mut sink)?;
            if tokens.is_null() { Ok(()) } else { give(tokens, count as u32) }
        })
    }
}

/// Forgets the dialogue in `bin`; its text is erased. What was learned of it stays in the adapter: to
/// forget that too, call `hs_begin_anew`, learn, `hs_save` and `hs_erase_older`.
///
/// # Safety
/// `device` is null or was given by `hs_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_forget(device: *mut hs_device, bin: u32) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe { with(device, |device| Ok(device.forget(bin as usize)?)) }
}

/// A fresh adapter, which changes nothing yet. What was saved stays until the next `hs_save`.
///
/// # Safety
/// `device` is null or was given by `hs_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_begin_anew(device: *mut hs_device) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe {
        with(device, |device| {
            device.begin_anew();
            Ok(())
        })
    }
}

/// Erases the save before the last, so that nothing older can be read.
///
/// # Safety
/// `device` is null or was given by `hs_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_erase_older(device: *mut hs_device) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe { with(device, |device| Ok(device.erase_older()?)) }
}

/// How the device stands.
///
/// # Safety
/// Pointers are null or lead to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_stand(device: *mut hs_device, standing: *mut hs_standing) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    unsafe {
        with(device, |device| {
            let stands = hs_standing {
                steps: device.steps(),
                saved: device.saved().unwrap_or(0),
                dialogues: device.samples().entries().count() as u32,
                answered: device.answered() as u32,
                used_bytes: device.used(),
            };
            give(standing, stands)
        })
    }
}

fn not_null<T>(to: *const T) -> Result<(), hs_status> {
    if to.is_null() { Err(hs_status::HS_NULL) } else { Ok(()) }
}
