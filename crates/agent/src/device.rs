//! What the machine has to offer: slots and GPU device files. Who gets which is the master's decision.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use domain::agent::{Device, DeviceKind};
use tokio::process::Command;

/// Longest wait for `nvidia-smi`; it takes seconds where the driver has to wake up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's GPUs, or else its cores (or `slots` of them).
pub(crate) async fn discover(slots: Option<u32>) -> Vec<Device> {
    let gpus = gpus().await;
    if gpus.is_empty() { cores(slots) } else { gpus }
}

async fn gpus() -> Vec<Device> {
    let query = Command::new("nvidia-smi")
        .args(["--query-gpu=index,name,uuid", "--format=csv,noheader"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(PATIENCE, query).await {
        Ok(Ok(output)) if output.status.success() => parse_gpus(&String::from_utf8_lossy(&output.stdout)),
        Err(_) => {
            tracing::warn!("nvidia-smi didn't answer within {PATIENCE:?}: this agent offers no GPUs");
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn parse_gpus(csv: &str) -> Vec<Device> {
    let device = |line: &str| {
        let (id, rest) = line.split_once(',')?;
        // A model's name may hold commas, a number can't.
        let (brand, uuid) = rest.rsplit_once(',')?;
        Some(Device {
            id: id.trim().parse().ok()?,
            kind: DeviceKind::Cuda,
            brand: brand.trim().to_owned(),
            uuid: uuid.trim().to_owned(),
        })
    };
    csv.lines().filter_map(device).collect()
}

fn cores(slots: Option<u32>) -> Vec<Device> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let brand = parse_cpu_model(&cpuinfo);
    let count = slots.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u32::try_from(cores).unwrap_or(u32::MAX)
    });
    let device = |id| Device { id, kind: DeviceKind::Cpu, brand: brand.clone(), uuid: String::new() };
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

/// The device files of the NVIDIA driver.
pub(crate) fn nvidia_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter(|e| e.file_name().as_encoded_bytes().starts_with(b"nvidia"))
        .filter(|e| e.file_type().is_ok_and(|t| !t.is_dir() && !t.is_symlink()))
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_read_from_csv() {
        let gpus =
            parse_gpus("0, NVIDIA A100-SXM4-40GB, GPU-aa\n1, Odd, name, GPU-bb\nno devices were found\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[0].brand.as_str(), gpus[0].uuid.as_str()), ("NVIDIA A100-SXM4-40GB", "GPU-aa"));
        assert_eq!((gpus[1].id, gpus[1].brand.as_str()), (1, "Odd, name"));
    }

    #[test]
    fn cores_are_counted_or_told() {
        assert!(!cores(None).is_empty());
        assert_eq!(cores(Some(0)).len(), 0);
        let ids: Vec<_> = cores(Some(3)).iter().map(|d| d.id).collect();
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(parse_cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2\n"), "Some CPU @ 2");
    }
}
