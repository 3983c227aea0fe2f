//! Joules that some work took, where a sensor tells.
//!
//! ```text
//! counters   the difference of microjoules, which wrap at max_energy_range_uj; looked at in between
//! power      volts times amperes, looked at four times a second, times the time in between
//! ```
//! Both are of the machine, or of its processor: what else runs meanwhile is in them.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::sensors::{Meter, Sensors, number};

/// How often it is looked.
const GLANCE: Duration = Duration::from_millis(250);

/// Measures from its making to [`joules`](Self::joules).
#[derive(Debug)]
pub struct Energy {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<f64>>,
}

impl Energy {
    /// Begins to measure, if there is a sensor.
    pub fn start(sensors: &Sensors) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let thread = sensors.meter().and_then(|meter| {
            let ended = Arc::clone(&ended);
            let name = "homespun-energy".to_owned();
            thread::Builder::new().name(name).spawn(move || measure(&meter, &ended)).ok()
        });
        Self { ended, thread }
    }

    /// Joules since then; `None` without a sensor.
    pub fn joules(mut self) -> Option<f64> {
        self.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Energy {
    fn drop(&mut self) {
        // The thread sees it at its next look.
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn measure(meter: &Meter, ended: &AtomicBool) -> f64 {
    let mut joules = 0.0;
    match meter {
        Meter::Counters(packages) => {
            let read = |package: &PathBuf| number(&package.join("energy_uj")).unwrap_or(0);
            let mut last: Vec<i64> = packages.iter().map(read).collect();
            loop {
                let is_end = ended.load(Ordering::Relaxed);
                for (package, last) in packages.iter().zip(&mut last) {
                    let now = read(package);
                    joules += counted(*last, now, package) / 1e6;
                    *last = now;
                }
                if is_end {
                    return joules;
                }
                thread::park_timeout(GLANCE);
            }
        }
        Meter::Power(chips) => {
            let mut since = Instant::now();
            loop {
                let is_end = ended.load(Ordering::Relaxed);
                let watts: f64 = chips.iter().map(|chip| watts(chip)).sum();
                joules += watts * since.elapsed().as_secs_f64();
                since = Instant::now();
                if is_end {
                    return joules;
                }
                thread::park_timeout(GLANCE);
            }
        }
    }
}

/// Microjoules between two readings of a counter.
fn counted(last: i64, now: i64, package: &Path) -> f64 {
    let range = number(&package.join("max_energy_range_uj")).unwrap_or(0);
    let more = if now < last { now + range - last } else { now - last };
    more.max(0) as f64
}

/// Of the first channel, which is the board's input.
fn watts(chip: &Path) -> f64 {
    let read = |file: &str| number(&chip.join(file)).unwrap_or(0) as f64 / 1000.0;
    read("in1_input") * read("curr1_input")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn counters_that_wrap_and_powers_are_summed() {
        let folder = tempfile::tempdir().unwrap();
        let sensors = Sensors::at(folder.path());
        assert_eq!(Energy::start(&sensors).joules(), None);
        let chip = folder.path().join("class/hwmon/hwmon1");
        fs::create_dir_all(&chip).unwrap();
        for (file, text) in [("name", "ina3221"), ("in1_input", "5000"), ("curr1_input", "2000")] {
            fs::write(chip.join(file), text).unwrap();
        }
        let (energy, begin) = (Energy::start(&sensors), Instant::now());
        thread::sleep(Duration::from_millis(60));
        let joules = energy.joules().unwrap();
        let most = 10.0 * begin.elapsed().as_secs_f64();
        assert!(joules >= 0.5 && joules <= most, "{joules} of at most {most}");
        let package = folder.path().join("class/powercap/intel-rapl:0");
        fs::create_dir_all(&package).unwrap();
        let set = |text: &str| fs::write(package.join("energy_uj"), text).unwrap();
        fs::write(package.join("max_energy_range_uj"), "10000000").unwrap();
        set("9000000");
        let energy = Energy::start(&sensors);
        thread::sleep(Duration::from_millis(50));
        set("1500000");
        assert_eq!(energy.joules(), Some(2.5));
    }
}
