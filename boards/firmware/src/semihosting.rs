//! Arm semihosting: files, time and the end of the program, by the machine that debugs this one (QEMU, or
//! a probe with OpenOCD).
//!
//! ```text
//! r0, x0   operation                             Cortex-M  bkpt #0xab
//! r1, x1   a value, or where its block lies      AArch64   hlt  #0xf000
//! r0, x0   the answer: -1, or bytes not done, where it failed
//! block    words of 32 bits on Cortex-M, of 64 on AArch64
//! ```
//! (Arm, Semihosting for AArch32 and AArch64, 2024Q3.)

use core::ffi::CStr;

const OPEN: usize = 0x01;
const CLOSE: usize = 0x02;
const WRITE: usize = 0x05;
const READ: usize = 0x06;
const SEEK: usize = 0x0A;
const LENGTH: usize = 0x0C;
const EXIT: usize = 0x18;
const EXIT_EXTENDED: usize = 0x20;
const ELAPSED: usize = 0x30;
const TICK_FREQUENCY: usize = 0x31;

/// The reason of an end that the program chose.
const APPLICATION_EXIT: usize = 0x20026;
/// The reason of an end by an error, for a host that takes no code.
const RUN_TIME_ERROR: usize = 0x20023;
const FAILED: usize = usize::MAX;

/// What the host could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Open a file.
    Open,
    /// Close one.
    Close,
    /// Write all that was given.
    Write,
    /// Read.
    Read,
    /// Go to a byte of a file.
    Seek,
    /// Tell a file's length.
    Length,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self {
            Error::Open => "open a file",
            Error::Close => "close a file",
            Error::Write => "write",
            Error::Read => "read",
            Error::Seek => "seek in a file",
            Error::Length => "tell a file's length",
        };
        write!(f, "the host could not {what}")
    }
}

impl core::error::Error for Error {}

/// Asks the host.
///
/// # Safety
/// `argument` is what `operation` takes: where it is the address of a block, all that the block points to
/// is live memory of the lengths given, writable where the operation writes.
#[cfg(target_arch = "arm")]
unsafe fn call(operation: usize, argument: usize) -> usize {
    let answer;
    // SAFETY: the debugger changes r0 and what the caller vouches for, and goes on after the breakpoint.
    unsafe {
        core::arch::asm!(
            "bkpt 0xab",
            inlateout("r0") operation => answer,
            in("r1") argument,
            options(nostack, preserves_flags),
        );
    }
    answer
}

/// Asks the host.
///
/// # Safety
/// `argument` is what `operation` takes: where it is the address of a block, all that the block points to
/// is live memory of the lengths given, writable where the operation writes.
#[cfg(target_arch = "aarch64")]
unsafe fn call(operation: usize, argument: usize) -> usize {
    let answer;
    // SAFETY: the debugger changes x0 and what the caller vouches for, and goes on after the instruction.
    unsafe {
        core::arch::asm!(
            "hlt #0xf000",
            inlateout("x0") operation => answer,
            in("x1") argument,
            options(nostack, preserves_flags),
        );
    }
    answer
}

/// There is no host: every call fails. For tests on another machine.
///
/// # Safety
/// None is needed.
#[cfg(not(any(target_arch = "arm", target_arch = "aarch64")))]
unsafe fn call(_: usize, _: usize) -> usize {
    FAILED
}

/// How a file is opened, as `fopen` counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `rb`: what is there, to be read; of `:tt` the standard input.
    Read = 1,
    /// `r+b`: what is there, to be read and written.
    Update = 3,
    /// `wb`: of `:tt` the standard output.
    Write = 5,
    /// `w+b`: nothing at first, to be read and written.
    Create = 7,
    /// `ab`: of `:tt` the standard error.
    Append = 9,
}

/// A file of the host, open until [`close`](Self::close) or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    handle: usize,
}

impl File {
    /// Opens the file `name` of the host's working directory, or `:tt`, its terminal.
    ///
    /// # Errors
    /// If the host does not.
    pub fn open(name: &CStr, mode: Mode) -> Result<File, Error> {
        let block = [name.as_ptr() as usize, mode as usize, name.count_bytes()];
        // SAFETY: the block names a string of that length with a zero behind it, which is only read.
        let handle = unsafe { call(OPEN, block.as_ptr() as usize) };
        if handle == FAILED { Err(Error::Open) } else { Ok(File { handle }) }
    }

    /// Closes it; copies of it are of no more use.
    ///
    /// # Errors
    /// If the host does not.
    pub fn close(self) -> Result<(), Error> {
        let block = [self.handle];
        // SAFETY: the block is a handle.
        let answer = unsafe { call(CLOSE, block.as_ptr() as usize) };
        if answer == 0 { Ok(()) } else { Err(Error::Close) }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// If the host writes less.
    pub fn write(self, bytes: &[u8]) -> Result<(), Error> {
        let block = [self.handle, bytes.as_ptr() as usize, bytes.len()];
        // SAFETY: the block names bytes of that length, which are only read.
        let left = unsafe { call(WRITE, block.as_ptr() as usize) };
        if left == 0 { Ok(()) } else { Err(Error::Write) }
    }

    /// Reads what there is, at most `bytes`, and gives how many: none at the end of the file.
    ///
    /// # Errors
    /// If the host cannot.
    pub fn read(self, bytes: &mut [u8]) -> Result<usize, Error> {
        let block = [self.handle, bytes.as_mut_ptr() as usize, bytes.len()];
        // SAFETY: the block names bytes of that length, borrowed to be written.
        let left = unsafe { call(READ, block.as_ptr() as usize) };
        bytes.len().checked_sub(left).ok_or(Error::Read)
    }

    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// If the file ends before, or the host cannot.
    pub fn read_exact(self, bytes: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while done < bytes.len() {
            match self.read(&mut bytes[done..])? {
                0 => return Err(Error::Read),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Goes to byte `to`.
    ///
    /// # Errors
    /// If the host cannot.
    pub fn seek(self, to: u32) -> Result<(), Error> {
        let block = [self.handle, to as usize];
        // SAFETY: the block is a handle and a number.
        let answer = unsafe { call(SEEK, block.as_ptr() as usize) };
        if answer == 0 { Ok(()) } else { Err(Error::Seek) }
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// If the host does not know, or it has 4 GiB or more.
    pub fn length(self) -> Result<u32, Error> {
        let block = [self.handle];
        // SAFETY: the block is a handle.
        let length = unsafe { call(LENGTH, block.as_ptr() as usize) };
        u32::try_from(length).ok().filter(|_| length != FAILED).ok_or(Error::Length)
    }
}

/// Nanoseconds since the start, as the host counts them; `None` where it does not.
pub fn elapsed() -> Option<u64> {
    let mut ticks = [0u64; 1];
    // SAFETY: the block has the 64 bits that are written: two words of Cortex-M, one of AArch64.
    let answer = unsafe { call(ELAPSED, ticks.as_mut_ptr() as usize) };
    // SAFETY: the operation takes no argument.
    let frequency = unsafe { call(TICK_FREQUENCY, 0) };
    if answer != 0 || frequency == FAILED || frequency == 0 {
        return None;
    }
    let nanoseconds = u128::from(ticks[0]) * 1_000_000_000 / frequency as u128;
    u64::try_from(nanoseconds).ok()
}

/// Ends the program; QEMU ends with `code`.
pub fn exit(code: u8) -> ! {
    let block = [APPLICATION_EXIT, usize::from(code)];
    // SAFETY: the block is a reason and a code.
    unsafe { call(EXIT_EXTENDED, block.as_ptr() as usize) };
    // Here only where the host does not know that operation.
    let reason = if code == 0 { APPLICATION_EXIT } else { RUN_TIME_ERROR };
    let argument = if cfg!(target_pointer_width = "32") { reason } else { block.as_ptr() as usize };
    // SAFETY: the argument is a reason, or on AArch64 the address of the block.
    unsafe { call(EXIT, argument) };
    loop {
        core::hint::spin_loop();
    }
}
