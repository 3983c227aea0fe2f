//! Options of commands that train for hours: how often they write a checkpoint, when they stop and rest.

use core::time::Duration;

use clap::Args;

use super::Outcome;
use crate::hours::Hours;
use crate::sensors::Sensors;
use crate::tune::pace::{self, Cause, Every, Pace, Stop};
use crate::tune::rest::Limits;

/// When to write a checkpoint and when to stop.
#[derive(Args)]
pub(crate) struct InterruptArgs {
    /// Write a checkpoint after N steps, or after a time such as 60s or 5m, be it within a step
    #[arg(long, value_name = "N|TIME", default_value = "60s", value_parser = every)]
    checkpoint_every: Every,
    /// Stop after a time such as 90s, 30m or 2h, with a checkpoint; run again, it goes on
    #[arg(long, value_name = "TIME", value_parser = time)]
    deadline: Option<Duration>,
    /// Compute for at most this percentage of the time while training, and rest in between
    #[arg(long, value_name = "PERCENT", default_value_t = 100,
        value_parser = clap::value_parser!(u8).range(1..=100))]
    max_cpu: u8,
    /// Pause training while the machine is as hot as this, in degrees Celsius
    #[arg(long, value_name = "DEGREES")]
    max_temperature: Option<f32>,
    /// Pause training while a battery is being emptied
    #[arg(long)]
    only_on_ac: bool,
    /// Pause training in these hours of the day, such as 22:00-07:00
    #[arg(long, value_name = "HH:MM-HH:MM")]
    quiet_hours: Option<Hours>,
    /// Go on from a checkpoint of another instruction set, though its bits round differently
    #[arg(long)]
    any_isa: bool,
}

impl InterruptArgs {
    /// What tells the command to stop; its time begins now.
    pub(crate) fn stop(&self) -> Result<Stop, String> {
        if let Some(limit) = self.max_temperature {
            if !limit.is_finite() {
                return Err("--max-temperature: must be a number".into());
            }
            if Sensors::default().degrees().is_none() {
                return Err("--max-temperature: this machine tells no temperature".into());
            }
        }
        Stop::at_signals(self.deadline).map_err(|error| format!("signals: {error}"))
    }

    /// The same for a command that outlives its terminal.
    pub(crate) fn stop_but_hangup(&self) -> Result<Stop, String> {
        pace::ignore_hangup().map_err(|error| format!("signals: {error}"))?;
        self.stop()
    }

    /// As training takes it.
    pub(crate) const fn pace<'s>(&self, stop: &'s Stop) -> Pace<'s> {
        let limits = Limits {
            share: self.max_cpu as f64 / 100.0,
            celsius: self.max_temperature,
            only_on_ac: self.only_on_ac,
            quiet: self.quiet_hours,
        };
        Pace { every: self.checkpoint_every, any_isa: self.any_isa, limits, stop }
    }
}

/// A command that a signal stopped in good order.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Stopped {
    /// 128 and the signal, as shells expect.
    pub status: u8,
    message: String,
}

/// How a command ends that stopped for `cause` with all that it did kept in `place`: with an exit
/// status of its own for a signal, well at its deadline.
pub(crate) fn stopped(cause: Cause, place: impl core::fmt::Display, restart: bool) -> Outcome {
    let without = if restart { " without --restart" } else { "" };
    let message =
        format!("stopped ({cause}); {place} has all so far, the same command{without} goes on");
    match cause {
        Cause::Signal(number) => Err(Box::new(Stopped { status: 128 + number, message })),
        Cause::Deadline | Cause::Told => {
            eprintln!("homespun: {message}");
            Ok(())
        }
    }
}

fn every(text: &str) -> Result<Every, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1 step".to_owned()),
        Ok(steps) => Ok(Every::Steps(steps)),
        Err(_) => time(text).map(Every::Time),
    }
}

/// A number with s, m, h or d.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let fail = || format!("{text:?} is no time such as 90s, 30m, 2h or 1d");
    let (unit, number) = [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)]
        .into_iter()
        .find_map(|(name, unit)| Some((unit, text.strip_suffix(name)?)))
        .ok_or_else(fail)?;
    let number: f64 = number.parse().map_err(|_| fail())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| fail())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_steps_have_none() {
        let s = Duration::from_secs_f64;
        for (text, expected) in [
            ("90s", s(90.0)),
            ("0s", s(0.0)),
            ("1.5m", s(90.0)),
            ("2h", s(7200.0)),
            ("1d", s(86_400.0)),
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
            assert_eq!(every(text), Ok(Every::Time(expected)), "{text}");
        }
        assert_eq!(every("50"), Ok(Every::Steps(50)));
        for text in ["", "s", "-1s", "NaNs", "infs", "1e99d", "5 x", "90"] {
            assert!(time(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "1.5", "x"] {
            assert!(every(text).is_err(), "{text}");
        }
    }
}
