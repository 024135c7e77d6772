//! NVIDIA cards: what `nvidia-smi` says, read with distrust (B9), and which device files are whose (B6).
//!
//! A card's number in `nvidia-smi` is not the number of its file: that is the driver's minor number, which the driver
//! tells under `/proc/driver/nvidia`, or else `nvidia-smi -q`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use domain::agent::{Device, DeviceKind};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Places;

/// Longest output of `nvidia-smi` that is read, in bytes.
const MAX_OUTPUT: u64 = 4 << 20;
/// Device files that every user of a card needs. `nvidia-modeset` is for screens, and `nvidia-caps` below for parts of
/// cards.
const CONTROL: [&str; 4] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "dxg"];

/// A card that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gpu {
    /// Its number in `nvidia-smi`, which is its slot's.
    pub(super) index: u32,
    pub(super) uuid: String,
    pub(super) brand: String,
    /// The number of its device file; it has none under WSL.
    pub(super) minor: Option<u32>,
}

impl Gpu {
    pub(super) fn device(&self) -> Device {
        let Self { index, uuid, brand, .. } = self.clone();
        Device { id: index, kind: DeviceKind::Cuda, brand: brand.into(), uuid: uuid.into() }
    }

    /// Whether a person's name for a card means this one.
    pub(super) fn is_called(&self, name: &str) -> bool {
        name.parse() == Ok(self.index) || (name.starts_with("GPU-") && self.uuid.starts_with(name))
    }
}

/// Signs of cards that need no program to be seen.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Cards that the driver knows.
    known: usize,
    /// Numbers of device files.
    files: Vec<u32>,
    /// Cards on the bus.
    on_bus: usize,
    /// Cards of the machine that this virtual one is in.
    paravirtual: bool,
}

impl Signs {
    pub(super) fn any(&self) -> bool {
        self.known > 0 || !self.files.is_empty() || self.on_bus > 0 || self.paravirtual
    }

    /// How many cards there should be. Files may be left of cards that were taken out.
    fn count(&self) -> usize {
        if self.known > 0 { self.known } else { self.files.len() }
    }
}

/// Looks for signs.
pub(super) fn signs(places: &Places) -> Signs {
    let minor = |name: &str| name.strip_prefix("nvidia").and_then(|n| n.parse().ok());
    Signs {
        known: names(&places.driver.join("gpus")).len(),
        files: names(&places.dev).iter().filter_map(|name| minor(name)).collect(),
        on_bus: names(&places.pci).iter().filter(|name| is_card(&places.pci.join(name))).count(),
        paravirtual: is_device(&places.dev.join("dxg")),
    }
}

/// A display controller or accelerator of NVIDIA's.
fn is_card(dir: &Path) -> bool {
    let read = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let class = read("class");
    read("vendor").trim() == "0x10de" && (class.starts_with("0x03") || class.starts_with("0x12"))
}

/// What the cards answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) gpus: Vec<Gpu>,
    pub(super) troubles: Vec<String>,
    /// Some card was spoken of, working or not.
    pub(super) listed: bool,
}

/// Asks `nvidia-smi`.
pub(super) async fn query(places: &Places, signs: &Signs) -> Answer {
    let said = match run(places, &["--query-gpu=index,name,uuid", "--format=csv,noheader"]).await {
        Ok(said) => said,
        // A machine without cards has no such program.
        Err(Failure::Missing) if !signs.any() => return Answer::default(),
        Err(failure) => {
            return Answer { troubles: vec![unusable(&failure.to_string())], ..Answer::default() };
        }
    };
    let (rows, mut troubles) = parse(&said.stdout);
    let listed = !rows.is_empty() || !troubles.is_empty();
    let missing = signs.count().saturating_sub(rows.len() + troubles.len());
    if rows.is_empty() {
        if !signs.any() && !said.failed && said.stdout.trim().is_empty() {
            return Answer::default();
        }
        troubles.insert(0, unusable(&said.words()));
        return Answer { gpus: vec![], troubles, listed };
    }
    if said.failed {
        troubles.push(format!("nvidia-smi failed ({}) {}", said.status, first_line(said.stderr.lines())));
    }
    let minors = minors(places, &rows).await;
    let mut gpus = vec![];
    for row in rows {
        let minor = minors.get(&row.uuid).copied();
        match minor {
            Some(minor) if is_device(&places.dev.join(format!("nvidia{minor}"))) => {
                gpus.push(Gpu { minor: Some(minor), ..row });
            }
            None if signs.paravirtual => gpus.push(row),
            Some(minor) => troubles.push(format!(
                "GPU {} has no device file {}/nvidia{minor}: run nvidia-smi as root, or nvidia-modprobe, and start \
                 the agent again",
                row.index,
                places.dev.display()
            )),
            None => troubles.push(format!(
                "GPU {} ({}) isn't offered: the driver doesn't tell which device file is its",
                row.index, row.uuid
            )),
        }
    }
    if missing > 0 {
        troubles.push(format!("nvidia-smi leaves out {missing} of {} GPUs", signs.count()));
    }
    Answer { gpus, troubles, listed: true }
}

fn unusable(why: &str) -> String {
    format!(
        "this machine's GPUs can't be used: {why}; see that nvidia-smi works here, then start the agent again"
    )
}

/// Why there is no answer at all.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("nvidia-smi isn't installed, or not in the agent's PATH")]
    Missing,
    #[error("nvidia-smi can't be run: {0}")]
    Unable(std::io::Error),
    #[error("nvidia-smi didn't answer within {} s", .0.as_secs_f64())]
    Slow(std::time::Duration),
}

/// What `nvidia-smi` printed.
struct Said {
    stdout: String,
    stderr: String,
    failed: bool,
    status: String,
}

impl Said {
    /// Its first words, for people; the status when it has none.
    fn words(&self) -> String {
        let said = first_line(self.stdout.lines().chain(self.stderr.lines()));
        match (said.is_empty(), self.failed) {
            (true, true) => format!("nvidia-smi ended with {}", self.status),
            (true, false) => "nvidia-smi lists none".to_owned(),
            (false, _) => format!("nvidia-smi said: {said}"),
        }
    }
}

/// The first line that says something, for people.
fn first_line<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let line = lines.map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Runs it, no longer than it may take and reading no more than is sensible.
async fn run(places: &Places, arguments: &[&str]) -> Result<Said, Failure> {
    let mut child = Command::new(&places.nvidia_smi)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            if e.kind() == std::io::ErrorKind::NotFound { Failure::Missing } else { Failure::Unable(e) }
        })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = async {
        let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
        let status = child.wait().await.map_err(Failure::Unable)?;
        Ok::<_, Failure>(Said { stdout, stderr, failed: !status.success(), status: status.to_string() })
    };
    tokio::time::timeout(places.patience, said).await.unwrap_or(Err(Failure::Slow(places.patience)))
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = vec![];
    if let Some(pipe) = pipe {
        // What can't be read wasn't said; closing the pipe ends who goes on writing.
        let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Rows that speak of a working card, and what is wrong with the others.
fn parse(csv: &str) -> (Vec<Gpu>, Vec<String>) {
    let (mut gpus, mut troubles): (Vec<Gpu>, Vec<String>) = (vec![], vec![]);
    for line in csv.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let shown: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
        match row(line) {
            None if line.contains("GPU") || row_number(line).is_some() => {
                troubles.push(format!("a GPU isn't offered: nvidia-smi said: {shown}"));
            }
            // Talk around the rows, which counts when there are none.
            None => {}
            Some(gpu) if gpus.iter().any(|other| other.index == gpu.index || other.uuid == gpu.uuid) => {
                troubles.push(format!("nvidia-smi lists a GPU twice, the second is left out: {shown}"));
            }
            Some(gpu) => gpus.push(gpu),
        }
    }
    (gpus, troubles)
}

fn row_number(line: &str) -> Option<u32> {
    line.split_once(',')?.0.trim().parse().ok()
}

/// `INDEX, NAME, GPU-UUID`; the name may hold commas. A card that fails has words in brackets in place of some.
fn row(line: &str) -> Option<Gpu> {
    let index = row_number(line)?;
    let (brand, uuid) = line.split_once(',')?.1.rsplit_once(',')?;
    let (brand, uuid) = (brand.trim(), uuid.trim());
    let serial = uuid.strip_prefix("GPU-")?;
    let plain = !serial.is_empty() && serial.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let named = !brand.is_empty() && !brand.starts_with('[') && !brand.chars().any(char::is_control);
    (plain && named).then(|| Gpu { index, uuid: uuid.to_owned(), brand: brand.to_owned(), minor: None })
}

/// The numbers of the device files, by the cards' serial numbers.
async fn minors(places: &Places, rows: &[Gpu]) -> BTreeMap<String, u32> {
    let dir = places.driver.join("gpus");
    let information = names(&dir)
        .into_iter()
        .filter_map(|card| fs::read_to_string(dir.join(card).join("information")).ok());
    let mut found: BTreeMap<String, u32> =
        information.filter_map(|text| described(&text, "Device Minor")).collect();
    if rows.iter().any(|row| !found.contains_key(&row.uuid))
        && let Ok(said) = run(places, &["-q"]).await
    {
        // One section for each card, which begins at the margin.
        let sections = said.stdout.split("\nGPU ").skip(1);
        for (uuid, minor) in sections.filter_map(|section| described(section, "Minor Number")) {
            found.entry(uuid).or_insert(minor);
        }
    }
    // A number that two cards claim is neither's.
    let claims = |minor: u32| found.values().filter(|other| **other == minor).count();
    found
        .iter()
        .filter(|(_, minor)| claims(**minor) == 1)
        .map(|(uuid, minor)| (uuid.clone(), *minor))
        .collect()
}

/// Serial number and minor number from lines of `key : value`.
fn described(text: &str, minor: &str) -> Option<(String, u32)> {
    let value = |wanted: &str| {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields
            .map(|(key, value)| (key.trim(), value.trim()))
            .find(|(key, _)| *key == wanted)
            .map(|(_, v)| v.to_owned())
    };
    Some((value("GPU UUID")?, value(minor)?.parse().ok()?))
}

/// The device files of these cards and what goes with them; none for no card.
pub(super) fn files(places: &Places, gpus: &[&Gpu]) -> Vec<PathBuf> {
    if gpus.is_empty() {
        return vec![];
    }
    let mut files: Vec<PathBuf> = CONTROL.iter().map(|name| places.dev.join(name)).collect();
    for minor in gpus.iter().filter_map(|gpu| gpu.minor) {
        files.push(places.dev.join(format!("nvidia{minor}")));
        // A card in parts: whoever has the card has all of them.
        let parts = places.driver.join(format!("capabilities/gpu{minor}/mig"));
        for part in parts_of(&parts) {
            files.push(places.dev.join(format!("nvidia-caps/nvidia-cap{part}")));
        }
    }
    files.retain(|file| is_device(file));
    files
}

/// Numbers of the files that open a card's parts: `gi*/access` and `gi*/ci*/access`.
fn parts_of(mig: &Path) -> Vec<u32> {
    let mut found = vec![];
    for gpu in names(mig).iter().filter(|name| name.starts_with("gi")).map(|name| mig.join(name)) {
        let compute =
            names(&gpu).into_iter().filter(|name| name.starts_with("ci")).map(|name| gpu.join(name));
        for access in [gpu.clone()].into_iter().chain(compute).map(|dir| dir.join("access")) {
            let text = fs::read_to_string(access).unwrap_or_default();
            let minor = text.lines().find_map(|line| line.strip_prefix("DeviceFileMinor:"));
            found.extend(minor.and_then(|n| n.trim().parse::<u32>().ok()));
        }
    }
    found
}

/// Names in a directory that may not be there, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn is_device(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_char_device())
}
