//! What the machine has to offer: slots, and the device files that belong to them. Who gets which is the master's
//! decision.
//!
//! A machine that has GPUs but can't tell which offers nothing in their place: it says what is wrong, at start and in
//! the list of agents (B9). Which of the machine's GPUs an agent offers is in `choice`, what `nvidia-smi` says and what
//! the driver tells in `nvidia`.

mod choice;
mod cpu;
mod nvidia;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use domain::agent::{Device, DeviceKind};

pub(crate) use choice::Choice;

/// Where a machine tells about its devices.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The device files.
    pub(crate) dev: PathBuf,
    /// What the NVIDIA driver tells about its cards.
    pub(crate) driver: PathBuf,
    /// What the kernel tells about the devices on its buses.
    pub(crate) pci: PathBuf,
    /// The driver's program.
    pub(crate) nvidia_smi: PathBuf,
    /// How long that may take.
    pub(crate) patience: std::time::Duration,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            dev: "/dev".into(),
            driver: "/proc/driver/nvidia".into(),
            pci: "/sys/bus/pci/devices".into(),
            nvidia_smi: "nvidia-smi".into(),
            // It takes seconds where the driver has to wake up.
            patience: std::time::Duration::from_secs(20),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The slots.
    pub(crate) devices: Vec<Device>,
    /// What is wrong with the machine's devices, for people.
    pub(crate) trouble: Option<String>,
    /// The machine has GPUs: what a task wasn't given is to be kept from it.
    pub(crate) fenced: bool,
    gpus: Vec<nvidia::Gpu>,
    places: Places,
}

/// The machine's GPUs that this agent may offer; or else its cores (or `slots` of them), if it has no GPUs or is to
/// offer none.
pub(crate) async fn discover(slots: Option<u32>, choice: &Choice, places: Places) -> Found {
    let signs = nvidia::signs(&places);
    if choice.is_none() {
        return Found { devices: cpu::cores(slots), fenced: signs.any(), places, ..Found::default() };
    }
    let answer = nvidia::query(&places, &signs).await;
    let told = |troubles: &[String]| (!troubles.is_empty()).then(|| troubles.join("; "));
    // Cores in place of GPUs that don't answer would be given to work that needs GPUs.
    if !signs.any() && !answer.listed && !choice.is_setting() {
        let devices = cpu::cores(slots);
        return Found { devices, trouble: told(&answer.troubles), places, ..Found::default() };
    }
    let (gpus, mut troubles) = choice.pick(answer.gpus);
    troubles.splice(0..0, answer.troubles);
    let devices = gpus.iter().map(nvidia::Gpu::device).collect();
    Found { devices, trouble: told(&troubles), fenced: signs.any(), gpus, places }
}

impl Found {
    /// These slots, without any files.
    #[cfg(test)]
    pub(crate) fn of(devices: Vec<Device>) -> Self {
        Self { devices, ..Self::default() }
    }

    /// Serial numbers of the GPUs among the slots: numbers change with what is visible.
    pub(crate) fn serials(&self, slots: &[u32]) -> Vec<String> {
        let given = |device: &&Device| device.kind == DeviceKind::Cuda && slots.contains(&device.id);
        self.devices.iter().filter(given).map(|device| device.uuid.to_string()).collect()
    }

    /// The device files of the GPUs among the slots, and those that every user of a GPU needs; looked up now, for some
    /// of them are made when they are first needed.
    pub(crate) fn files(&self, slots: &[u32]) -> Vec<PathBuf> {
        let given: Vec<&nvidia::Gpu> = self.gpus.iter().filter(|gpu| slots.contains(&gpu.index)).collect();
        nvidia::files(&self.places, &given)
    }
}
