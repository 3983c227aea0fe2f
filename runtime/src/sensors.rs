//! What the machine tells of itself, as Linux shows it under `/sys`: heat, throttling, power.
//!
//! ```text
//! class/thermal/*/temp                                     thousandths of a degree
//! devices/system/cpu/cpu*/thermal_throttle/*_count         how often a core was slowed for heat (x86)
//! devices/platform/soc/soc:firmware/get_throttled          bits of a Raspberry Pi: 0..3 now
//! class/power_supply/*/{type,online,status}                mains, batteries
//! class/powercap/intel-rapl:N/energy_uj                    microjoules of a package since a while ago
//! class/hwmon/*/{name,in1_input,curr1_input}               millivolts and milliamperes of an INA3221
//! ```

use std::fs;
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Sensors {
    sys: PathBuf,
}

impl Default for Sensors {
    fn default() -> Self {
        Self { sys: "/sys".into() }
    }
}

/// What measures energy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meter {
    /// Counters of packages: their folders.
    Counters(Vec<PathBuf>),
    /// Sensors of a current power: their folders.
    Power(Vec<PathBuf>),
}

impl Sensors {
    /// Those under another folder than `/sys`.
    pub fn at(sys: &Path) -> Self {
        Self { sys: sys.into() }
    }

    /// Degrees Celsius of the hottest zone, where the machine tells any.
    pub fn degrees(&self) -> Option<f32> {
        let zones = folders(&self.sys.join("class/thermal"));
        let read = zones.into_iter().filter_map(|zone| number(&zone.join("temp")));
        read.map(|thousandths| thousandths as f32 / 1000.0).reduce(f32::max)
    }

    /// Every thermal zone: its type, and degrees Celsius where it tells.
    pub fn zones(&self) -> Vec<(String, Option<f32>)> {
        let zones = folders(&self.sys.join("class/thermal")).into_iter();
        let named = zones.filter_map(|zone| {
            let name = zone.file_name()?.to_string_lossy().starts_with("thermal_zone");
            let kind = fs::read_to_string(zone.join("type")).ok().filter(|_| name)?;
            let degrees = number(&zone.join("temp")).map(|one| one as f32 / 1000.0);
            Some((kind.trim().to_owned(), degrees))
        });
        named.collect()
    }

    /// Whether the machine is slowed down now (a Raspberry Pi), or how often it was (x86): zero is
    /// never; `None` where it does not tell.
    pub fn throttled(&self) -> Option<u64> {
        let pi = self.sys.join("devices/platform/soc/soc:firmware/get_throttled");
        if let Ok(text) = fs::read_to_string(pi) {
            let bits = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
            return Some(u64::from(bits & 0xF != 0));
        }
        let cores = folders(&self.sys.join("devices/system/cpu")).into_iter();
        let counts =
            cores.filter_map(|core| number(&core.join("thermal_throttle/core_throttle_count")));
        counts.map(|count| count.max(0) as u64).reduce(|a, b| a + b)
    }

    /// Whether the machine runs on mains: it does where it has no battery that is being emptied.
    pub fn is_on_mains(&self) -> bool {
        let supplies = folders(&self.sys.join("class/power_supply"));
        let says = |supply: &PathBuf, file: &str, what: &str| {
            fs::read_to_string(supply.join(file)).is_ok_and(|text| text.trim() == what)
        };
        let mains: Vec<_> =
            supplies.iter().filter(|supply| says(supply, "type", "Mains")).collect();
        if mains.iter().any(|supply| says(supply, "online", "1")) {
            return true;
        }
        let empties = |supply: &PathBuf| {
            says(supply, "type", "Battery") && says(supply, "status", "Discharging")
        };
        !supplies.iter().any(empties)
    }

    /// What measures the energy of the machine, or of its processor; `None` without such a sensor, or
    /// where it may not be read.
    pub fn meter(&self) -> Option<Meter> {
        // Zones within a package are counted in it.
        let is_package = |zone: &PathBuf| {
            let name = zone.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("intel-rapl:") && name.matches(':').count() == 1
        };
        let mut packages = folders(&self.sys.join("class/powercap"));
        packages.retain(|zone| is_package(zone) && number(&zone.join("energy_uj")).is_some());
        if !packages.is_empty() {
            return Some(Meter::Counters(packages));
        }
        let mut chips = folders(&self.sys.join("class/hwmon"));
        chips.retain(|chip| {
            fs::read_to_string(chip.join("name")).is_ok_and(|name| name.trim() == "ina3221")
                && number(&chip.join("in1_input")).is_some()
                && number(&chip.join("curr1_input")).is_some()
        });
        if chips.is_empty() { None } else { Some(Meter::Power(chips)) }
    }
}

/// What is in a folder, in the order of names.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The number in a file.
pub(crate) fn number(file: &Path) -> Option<i64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_machine_that_tells_nothing_is_on_mains_and_has_no_sensor() {
        let folder = tempfile::tempdir().unwrap();
        let sensors = Sensors::at(folder.path());
        assert_eq!((sensors.degrees(), sensors.throttled(), sensors.meter()), (None, None, None));
        assert!(sensors.is_on_mains());
    }

    #[test]
    fn the_hottest_zone_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "class/thermal/thermal_zone0/temp", "41000\n");
        write(root, "class/thermal/thermal_zone1/temp", "79500\n");
        write(root, "class/thermal/thermal_zone2/temp", "not read\n");
        write(root, "class/thermal/cooling_device0/type", "fan\n");
        assert_eq!(Sensors::at(root).degrees(), Some(79.5));
        write(root, "class/thermal/thermal_zone1/type", "cpu-thermal\n");
        assert_eq!(Sensors::at(root).zones(), [("cpu-thermal".to_owned(), Some(79.5))]);
    }

    #[test]
    fn throttling_is_told_by_a_pi_and_by_x86() {
        let folder = tempfile::tempdir().unwrap();
        let (root, sensors) = (folder.path(), Sensors::at(folder.path()));
        write(root, "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3\n");
        write(root, "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "4\n");
        assert_eq!(sensors.throttled(), Some(7));
        // It was throttled once, and is not now.
        let pi = "devices/platform/soc/soc:firmware/get_throttled";
        write(root, pi, "50000\n");
        assert_eq!(sensors.throttled(), Some(0));
        write(root, pi, "50005\n");
        assert_eq!(sensors.throttled(), Some(1));
    }

    #[test]
    fn a_battery_that_is_emptied_is_no_mains() {
        let folder = tempfile::tempdir().unwrap();
        let (root, sensors) = (folder.path(), Sensors::at(folder.path()));
        write(root, "class/power_supply/AC/type", "Mains\n");
        write(root, "class/power_supply/AC/online", "1\n");
        write(root, "class/power_supply/BAT0/type", "Battery\n");
        write(root, "class/power_supply/BAT0/status", "Charging\n");
        assert!(sensors.is_on_mains());
        write(root, "class/power_supply/AC/online", "0\n");
        write(root, "class/power_supply/BAT0/status", "Discharging\n");
        assert!(!sensors.is_on_mains());
    }

    #[test]
    fn energy_is_of_packages_or_else_of_an_ina3221() {
        let folder = tempfile::tempdir().unwrap();
        let (root, sensors) = (folder.path(), Sensors::at(folder.path()));
        write(root, "class/hwmon/hwmon0/name", "coretemp\n");
        write(root, "class/hwmon/hwmon1/name", "ina3221\n");
        write(root, "class/hwmon/hwmon1/in1_input", "5000\n");
        write(root, "class/hwmon/hwmon1/curr1_input", "1200\n");
        assert_eq!(sensors.meter(), Some(Meter::Power(vec![root.join("class/hwmon/hwmon1")])));
        write(root, "class/powercap/intel-rapl:0/energy_uj", "12\n");
        write(root, "class/powercap/intel-rapl:0:0/energy_uj", "7\n");
        write(root, "class/powercap/intel-rapl/enabled", "1\n");
        let package = root.join("class/powercap/intel-rapl:0");
        assert_eq!(sensors.meter(), Some(Meter::Counters(vec![package])));
    }
}
