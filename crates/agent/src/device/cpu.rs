//! Slots of a machine without GPUs: its cores.

use domain::agent::{Device, DeviceKind};
use domain::text::Plain;

/// As many cores as the machine has, or as it was told.
pub(super) fn cores(slots: Option<u32>) -> Vec<Device> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let brand = Plain::from(parse_cpu_model(&cpuinfo));
    let count = slots.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u32::try_from(cores).unwrap_or(u32::MAX)
    });
    let device = |id| Device { id, kind: DeviceKind::Cpu, brand: brand.clone(), uuid: Plain::default() };
    (0..count).map(device).collect()
}

fn parse_cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    // ARM has no such line.
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_or_told() {
        assert!(!cores(None).is_empty());
        assert_eq!(cores(Some(0)).len(), 0);
        let ids: Vec<_> = cores(Some(3)).iter().map(|d| d.id).collect();
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(parse_cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2\n"), "Some CPU @ 2");
    }
}
