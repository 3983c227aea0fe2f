//! Runs code of the tokenizers crate, which some files make panic; a panic becomes an error, and
//! nothing of it is printed.

use core::any::Any;
use core::cell::Cell;
use core::panic::AssertUnwindSafe;
use std::panic;
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Installed once: silent on a thread that is inside [`guarded`], else the hook that was there.
static HOOK: Once = Once::new();

/// The result of `f`, its error or its panic as text.
pub(super) fn guarded<T>(f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    caught(f, |panic| panic.downcast_ref::<String>().cloned())
}

/// [`guarded`] for what works on a person's text, which a panic's own text may quote.
pub(super) fn guarded_text<T>(f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    caught(f, |_| None)
}

/// `made` gives the text of a panic whose text is not fixed.
fn caught<T>(
    f: impl FnOnce() -> tokenizers::Result<T>,
    made: impl FnOnce(&(dyn Any + Send)) -> Option<String>,
) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    QUIET.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(match panic.downcast_ref::<&str>() {
            Some(text) => (*text).to_owned(),
            None => made(&*panic).unwrap_or_else(|| "a panic".into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{guarded, guarded_text};

    #[test]
    fn panics_and_errors_become_text() {
        assert_eq!(guarded(|| Ok(3)), Ok(3));
        assert_eq!(guarded::<()>(|| Err("no".into())), Err("no".into()));
        assert_eq!(guarded::<()>(|| panic!("stop")), Err("stop".into()));
        assert_eq!(guarded::<()>(|| panic!("stop {}", 1)), Err("stop 1".into()));
        assert_eq!(guarded_text::<()>(|| panic!("stop")), Err("stop".into()));
        let said = "mint tea".to_owned();
        assert_eq!(guarded_text::<()>(|| panic!("at {said}")), Err("a panic".into()));
    }
}
