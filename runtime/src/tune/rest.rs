//! Rests between micro-batches, so that a device stays usable and cool. They change no bit.
//!
//! ```text
//! share   computing takes so much of the time: after t seconds of it come t (1 / share - 1) of rest
//! limit   at so many degrees it pauses, until the hottest thermal zone is COOLED below it
//! ```

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

/// Degrees below the limit at which it goes on.
const COOLED: f32 = 5.0;

/// What is looked at in between, at the latest after this.
const GLANCE: Duration = Duration::from_millis(50);

/// Where Linux tells temperatures.
const ZONES: &str = "/sys/class/thermal";

/// How much training may take of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Share of the time that it computes, at most.
    pub share: f64,
    /// Degrees Celsius at which it pauses.
    pub celsius: Option<f32>,
}

impl Limits {
    /// All of it.
    pub const NONE: Limits = Limits { share: 1.0, celsius: None };
}

/// Takes the rests.
#[derive(Debug)]
pub(super) struct Rest {
    limits: Limits,
    zones: PathBuf,
    woke: Instant,
}

impl Rest {
    /// Work begins now.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, zones: ZONES.into(), woke: Instant::now() }
    }

    /// Rests as long as the work since the last rest demands, or until `stop` holds.
    pub(super) fn take(&mut self, stop: impl Fn() -> bool) {
        let rest = self.woke.elapsed().mul_f64((1.0 / self.limits.share - 1.0).max(0.0));
        let begin = Instant::now();
        let mut hot = self.is_at(self.limits.celsius);
        if let (true, Some(limit)) = (hot, self.limits.celsius) {
            eprintln!("pausing at {limit} degrees, until it is below {}", limit - COOLED);
        }
        while (hot || begin.elapsed() < rest) && !stop() {
            let left = rest.saturating_sub(begin.elapsed());
            thread::sleep(if hot { GLANCE } else { left.min(GLANCE) });
            hot = hot && self.is_at(self.limits.celsius.map(|limit| limit - COOLED));
        }
        self.woke = Instant::now();
    }

    fn is_at(&self, limit: Option<f32>) -> bool {
        limit.is_some_and(|limit| hottest(&self.zones).is_some_and(|now| now >= limit))
    }
}

/// Degrees of the hottest zone, where the machine tells any.
pub(crate) fn degrees() -> Option<f32> {
    hottest(Path::new(ZONES))
}

fn hottest(zones: &Path) -> Option<f32> {
    let zones = fs::read_dir(zones).ok()?.flatten();
    let read = zones.filter_map(|zone| fs::read_to_string(zone.path().join("temp")).ok());
    read.filter_map(|text| Some(text.trim().parse::<f32>().ok()? / 1000.0)).reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

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
            fs::create_dir_all(folder.path().join(name)).expect("zone");
            fs::write(folder.path().join(name).join("temp"), text).expect("temp");
        };
        assert_eq!(hottest(folder.path()), None);
        fs::create_dir(folder.path().join("cooling_device0")).expect("no zone");
        zone("thermal_zone0", "41000\n");
        zone("thermal_zone1", "79500\n");
        zone("thermal_zone2", "not read\n");
        assert_eq!(hottest(folder.path()), Some(79.5));
        let limits = Limits { celsius: Some(80.0), ..Limits::NONE };
        let mut rest = Rest { zones: folder.path().into(), ..Rest::new(limits) };
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
}
