//! Rests between micro-batches, so that a device stays usable, cool, quiet and charged. They change no
//! bit.
//!
//! ```text
//! share   computing takes so much of the time: after t seconds of it come t (1 / share - 1) of rest
//! limit   at so many degrees it pauses, until the hottest thermal zone is COOLED below it
//! mains   it pauses while a battery is being emptied
//! quiet   it pauses in these hours
//! ```

use core::fmt;
use core::time::Duration;
use std::thread;
use std::time::Instant;

use crate::event::event;
use crate::hours::Hours;
use crate::sensors::Sensors;

/// Degrees below the limit at which it goes on.
const COOLED: f32 = 5.0;

/// What is looked at in between, at the latest after this.
const GLANCE: Duration = Duration::from_millis(50);

/// How much training may take of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Share of the time that it computes, at most.
    pub share: f64,
    /// Degrees Celsius at which it pauses.
    pub celsius: Option<f32>,
    /// Whether it pauses on battery.
    pub only_on_ac: bool,
    /// Hours in which it pauses.
    pub quiet: Option<Hours>,
}

/// Why it pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The machine is hot.
    Hot,
    /// A battery is being emptied.
    Battery,
    /// The person wants quiet.
    Quiet,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pause::Hot => "hot",
            Pause::Battery => "battery",
            Pause::Quiet => "quiet-hours",
        })
    }
}

impl Limits {
    /// All of it.
    pub const NONE: Limits = Limits { share: 1.0, celsius: None, only_on_ac: false, quiet: None };

    /// Why training pauses now, if it does; `was` is why it does already.
    pub fn pause(&self, sensors: &Sensors, was: Option<Pause>) -> Option<Pause> {
        let cooled = if was == Some(Pause::Hot) { COOLED } else { 0.0 };
        let is_hot = |limit: f32| sensors.degrees().is_some_and(|now| now >= limit - cooled);
        if self.celsius.is_some_and(is_hot) {
            Some(Pause::Hot)
        } else if self.only_on_ac && !sensors.is_on_mains() {
            Some(Pause::Battery)
        } else if self.quiet.is_some_and(Hours::are_now) {
            Some(Pause::Quiet)
        } else {
            None
        }
    }
}

/// Takes the rests.
#[derive(Debug)]
pub(super) struct Rest {
    limits: Limits,
    sensors: Sensors,
    woke: Instant,
}

impl Rest {
    /// Work begins now.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, sensors: Sensors::default(), woke: Instant::now() }
    }

    /// Rests as long as the work since the last rest demands, or until `stop` holds.
    pub(super) fn take(&mut self, stop: impl Fn() -> bool) {
        let rest = self.woke.elapsed().mul_f64((1.0 / self.limits.share - 1.0).max(0.0));
        let begin = Instant::now();
        let mut pause = self.limits.pause(&self.sensors, None);
        if let Some(why) = pause {
            event("paused", &[("why", &why)]);
        }
        let paused = pause.is_some();
        while (pause.is_some() || begin.elapsed() < rest) && !stop() {
            let left = rest.saturating_sub(begin.elapsed());
            thread::sleep(if pause.is_some() { GLANCE } else { left.min(GLANCE) });
            if pause.is_some() {
                pause = self.limits.pause(&self.sensors, pause);
            }
        }
        if paused {
            event("goes-on", &[("seconds", &begin.elapsed().as_secs())]);
        }
        self.woke = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn a_quarter_of_the_time_is_worked_and_a_stop_ends_the_rest() {
        let mut rest = Rest::new(Limits { share: 0.25, ..Limits::NONE });
        thread::sleep(Duration::from_millis(40));
        let begin = Instant::now();
        rest.take(|| false);
        assert!(begin.elapsed() >= Duration::from_millis(120), "{:?}", begin.elapsed());
        let mut rest = Rest::new(Limits { share: 1e-6, ..Limits::NONE });
        thread::sleep(Duration::from_millis(10));
        rest.take(|| true);
        let mut rest = Rest::new(Limits::NONE);
        rest.take(|| panic!("there is nothing to wait for"));
    }

    #[test]
    fn a_hot_machine_pauses_until_it_has_cooled() {
        let folder = tempfile::tempdir().expect("folder");
        let zone = |name: &str, text: &str| {
            let zone = folder.path().join("class/thermal").join(name);
            fs::create_dir_all(&zone).expect("zone");
            fs::write(zone.join("temp"), text).expect("temp");
        };
        zone("thermal_zone0", "41000\n");
        zone("thermal_zone1", "79500\n");
        let limits = Limits { celsius: Some(80.0), ..Limits::NONE };
        let mut rest = Rest { sensors: Sensors::at(folder.path()), ..Rest::new(limits) };
        rest.take(|| panic!("it is not hot"));
        zone("thermal_zone1", "80000\n");
        let glances = Cell::new(0);
        rest.take(|| {
            glances.set(glances.get() + 1);
            let now = ["80000", "75000", "74900"][glances.get().min(3) - 1];
            zone("thermal_zone1", now);
            assert!(glances.get() < 10, "it never ends");
            false
        });
        assert_eq!(glances.get(), 3, "it went on at 75 degrees, or paused at 74.9");
    }

    #[test]
    fn a_battery_and_quiet_hours_are_reasons_to_pause() {
        let folder = tempfile::tempdir().expect("folder");
        let battery = folder.path().join("class/power_supply/BAT0");
        fs::create_dir_all(&battery).expect("battery");
        fs::write(battery.join("type"), "Battery\n").expect("type");
        fs::write(battery.join("status"), "Discharging\n").expect("status");
        let sensors = Sensors::at(folder.path());
        let on_ac = Limits { only_on_ac: true, ..Limits::NONE };
        assert_eq!(on_ac.pause(&sensors, None), Some(Pause::Battery));
        assert_eq!(Limits::NONE.pause(&sensors, None), None);
        fs::write(battery.join("status"), "Charging\n").expect("status");
        assert_eq!(on_ac.pause(&sensors, None), None);
        let never = Limits { quiet: "00:00-00:00".parse().ok(), ..Limits::NONE };
        // It is now in one half of the day, and not in the other.
        let halves = ["00:00-12:00", "12:00-00:00"].map(|hours| {
            let limits = Limits { quiet: hours.parse().ok(), ..Limits::NONE };
            assert!(limits.quiet.is_some(), "{hours}");
            limits.pause(&sensors, None)
        });
        assert!(halves.contains(&Some(Pause::Quiet)) && halves.contains(&None), "{halves:?}");
        assert_eq!(never.pause(&sensors, None), None);
    }
}
