//! Machines with GPUs that the test makes: device files, what the driver tells, and an `nvidia-smi` that does as it
//! is told (B6, B9, B19).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

struct Fake {
    temp: tempfile::TempDir,
    places: Places,
}

impl Fake {
    /// A machine without anything.
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("temp dir");
        let at = |name: &str| temp.path().join(name);
        let places = Places {
            dev: at("dev"),
            driver: at("driver"),
            pci: at("pci"),
            nvidia_smi: at("nvidia-smi"),
            patience: Duration::from_secs(20),
        };
        fs::create_dir_all(at("dev/nvidia-caps")).expect("made");
        Self { temp, places }
    }

    /// Two cards, whose device files aren't in the order of their numbers, and what else a driver has.
    fn with_cards() -> Self {
        let fake = Self::new();
        for (bus, uuid, minor) in [("0000:01:00.0", "GPU-aa", 5), ("0000:02:00.0", "GPU-bb", 0)] {
            fake.node(&format!("nvidia{minor}"));
            fake.text(
                &format!("driver/gpus/{bus}/information"),
                &format!("Model: \t\t A100\nGPU UUID: \t {uuid}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"),
            );
        }
        for name in ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia7"] {
            fake.node(name);
        }
        fake
    }

    fn node(&self, name: &str) {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let path = self.places.dev.join(name);
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 3)).expect("a node, as root");
    }

    fn text(&self, name: &str, text: &str) {
        let path = self.temp.path().join(name);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn smi(&self, script: &str) {
        self.text("nvidia-smi", &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&self.places.nvidia_smi, fs::Permissions::from_mode(0o755)).expect("set");
    }

    async fn discover(&self, choice: &Choice) -> Found {
        discover(Some(3), choice, self.places.clone()).await
    }

    async fn all(&self) -> Found {
        self.discover(&Choice::All).await
    }

    fn names(&self, files: &[PathBuf]) -> Vec<String> {
        let dev = self.temp.path().join("dev");
        let mut names: Vec<String> = files
            .iter()
            .map(|file| file.strip_prefix(&dev).expect("below").to_str().expect("text").to_owned())
            .collect();
        names.sort();
        names
    }
}

fn ids(found: &Found) -> Vec<u32> {
    found.devices.iter().map(|device| device.id).collect()
}

const GOOD: &str = "echo '0, NVIDIA A100, GPU-aa'; echo '1, Odd, name, GPU-bb'";

#[tokio::test]
async fn b06_a_slot_has_the_files_of_its_own_card() {
    let fake = Fake::with_cards();
    fake.smi(GOOD);
    let found = fake.all().await;
    assert_eq!(ids(&found), [0, 1]);
    assert_eq!((found.trouble.as_deref(), found.fenced), (None, true));
    assert_eq!(found.devices[1].brand, "Odd, name");
    let files = |slots: &[u32]| fake.names(&found.files(slots));
    assert_eq!(files(&[]), [""; 0]);
    assert_eq!(files(&[0]), ["nvidia-uvm", "nvidia-uvm-tools", "nvidia5", "nvidiactl"]);
    assert_eq!(files(&[1]), ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"]);
    assert_eq!(files(&[0, 1]), ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia5", "nvidiactl"]);
    assert_eq!(found.serials(&[1, 9]), ["GPU-bb"]);
}

#[tokio::test]
async fn b06_the_parts_of_a_card_go_with_it() {
    let fake = Fake::with_cards();
    fake.smi(GOOD);
    for (path, number) in
        [("gpu5/mig/gi1/access", 12), ("gpu5/mig/gi1/ci0/access", 13), ("gpu0/mig/gi2/access", 21)]
    {
        fake.text(
            &format!("driver/capabilities/{path}"),
            &format!("DeviceFileMinor: {number}\nDeviceFileMode: 292\n"),
        );
        fake.node(&format!("nvidia-caps/nvidia-cap{number}"));
    }
    // That of whoever makes parts is nobody's.
    fake.text("driver/capabilities/gpu5/mig/config", "DeviceFileMinor: 1\n");
    fake.node("nvidia-caps/nvidia-cap1");
    let found = fake.all().await;
    let caps = |slots: &[u32]| {
        let names = fake.names(&found.files(slots));
        names.into_iter().filter(|name| name.contains("caps")).collect::<Vec<_>>()
    };
    assert_eq!(caps(&[0]), ["nvidia-caps/nvidia-cap12", "nvidia-caps/nvidia-cap13"]);
    assert_eq!(caps(&[1]), ["nvidia-caps/nvidia-cap21"]);
}

#[tokio::test]
async fn b06_the_program_tells_the_files_where_the_driver_does_not() {
    let fake = Fake::with_cards();
    fs::remove_dir_all(&fake.places.driver).expect("removed");
    let long = "echo 'Attached GPUs : 2'; echo; echo 'GPU 00000000:01:00.0'; echo '    GPU UUID : GPU-aa'; \
                echo '    Minor Number : 5'; echo 'GPU 00000000:02:00.0'; echo '    GPU UUID : GPU-bb'; \
                echo '    Minor Number : 0'";
    fake.smi(&format!("if [ \"$1\" = -q ]; then {long}; else {GOOD}; fi"));
    let found = fake.all().await;
    assert_eq!(fake.names(&found.files(&[0]))[2], "nvidia5");
    assert_eq!(fake.names(&found.files(&[1]))[2], "nvidia0");
    // Nobody tells: a guess would give a task another's card.
    fake.smi(GOOD);
    let found = fake.all().await;
    assert_eq!(ids(&found), [0; 0]);
    assert!(found.trouble.is_some_and(|trouble| trouble.contains("which device file")));
}

#[tokio::test]
async fn b09_a_machine_whose_cards_do_not_answer_offers_nothing_and_says_so() {
    let cases = [
        ("exit 9", "ended with exit status: 9"),
        ("echo 'NVIDIA-SMI has failed because it could not talk to the driver'; exit 9", "could not talk"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'", "Failed to initialize NVML"),
        ("", "lists none"),
        ("echo 'No devices were found'; exit 6", "No devices"),
        ("echo garbage; echo more", "garbage"),
        ("printf '\\377\\376\\000,\\001,\\002\\n'", "can't be used"),
        ("yes | head -c 50000000", "can't be used"),
        ("yes", "can't be used"),
        ("exec sleep 1000", "didn't answer"),
        ("sleep 3 & exit 9", "didn't answer"),
        ("kill -9 $$", "signal: 9"),
        ("echo '0, [N/A], [N/A]'; echo '1, [GPU is lost], [GPU is lost]'", "[GPU is lost]"),
    ];
    for (script, words) in cases {
        let mut fake = Fake::with_cards();
        if words == "didn't answer" {
            fake.places.patience = Duration::from_millis(200);
        }
        fake.smi(script);
        let found = fake.all().await;
        assert_eq!((ids(&found), found.fenced), (vec![], true), "{script}");
        let trouble = found.trouble.unwrap_or_default();
        assert!(trouble.contains(words), "{script}: {trouble:?}");
        assert!(trouble.len() < 1000 && !trouble.chars().any(char::is_control), "{script}: {trouble:?}");
    }
    let fake = Fake::with_cards();
    assert!(fake.all().await.trouble.is_some_and(|trouble| trouble.contains("isn't installed")));
    fake.text("nvidia-smi", "not a program");
    assert!(fake.all().await.trouble.is_some_and(|trouble| trouble.contains("can't be run")));
}

#[tokio::test]
async fn b09_one_sign_of_a_card_is_enough() {
    let fakes = [Fake::new(), Fake::new(), Fake::new(), Fake::new()];
    fakes[0].node("nvidia3");
    fakes[1].text("driver/gpus/0000:01:00.0/information", "");
    fakes[2].text("pci/0000:01:00.0/vendor", "0x10de\n");
    fakes[2].text("pci/0000:01:00.0/class", "0x030200\n");
    fakes[3].node("dxg");
    for fake in fakes {
        let found = fake.all().await;
        assert_eq!(ids(&found), [0; 0]);
        assert!(found.trouble.is_some());
    }
}

#[tokio::test]
async fn b09_a_machine_without_cards_has_cores() {
    let fake = Fake::new();
    let found = fake.all().await;
    assert_eq!((ids(&found), found.trouble, found.fenced), (vec![0, 1, 2], None, false));
    // Somebody's sound card, and a program that was installed for nothing.
    fake.text("pci/0000:00:01.0/vendor", "0x10de\n");
    fake.text("pci/0000:00:01.0/class", "0x040300\n");
    fake.smi("exit 9");
    let found = fake.all().await;
    assert_eq!(ids(&found), [0, 1, 2]);
    assert!(found.trouble.is_some_and(|trouble| trouble.contains("exit status: 9")));
    let variable = Choice::new(None, Some("0"));
    assert_eq!(ids(&fake.discover(&variable).await), [0, 1, 2]);
}

#[tokio::test]
async fn b09_good_cards_go_on_beside_bad_ones() {
    let bad = [
        ("echo '1, [Unknown Error], [Unknown Error]'", "[Unknown Error]"),
        ("echo '1, NVIDIA A100, [GPU is lost]'", "[GPU is lost]"),
        ("echo '[N/A], [N/A], GPU-bb'", "[N/A]"),
        (
            "echo 'Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.'; exit 15",
            "Unable to",
        ),
        ("echo '0, NVIDIA A100, GPU-bb'", "twice"),
        ("echo '1, NVIDIA A100, GPU-aa'", "twice"),
        ("echo '1, NVIDIA A100, GPU-cc'", "which device file"),
        ("exit 14", "nvidia-smi failed"),
        ("", "leaves out 1 of 2"),
    ];
    for (script, words) in bad {
        let fake = Fake::with_cards();
        fake.smi(&format!("echo '0, NVIDIA A100, GPU-aa'; {script}"));
        let found = fake.all().await;
        assert_eq!(ids(&found), [0], "{script}");
        let trouble = found.trouble.unwrap_or_default();
        assert!(trouble.contains(words), "{script}: {trouble:?}");
    }
    // A card without its device file is of no use.
    let fake = Fake::with_cards();
    fs::remove_file(fake.places.dev.join("nvidia0")).expect("removed");
    fake.smi(GOOD);
    let found = fake.all().await;
    assert_eq!(ids(&found), [0]);
    assert!(found.trouble.is_some_and(|trouble| trouble.contains("no device file")));
}

#[tokio::test]
async fn b19_two_agents_share_a_machine() {
    let fake = Fake::with_cards();
    fake.smi(GOOD);
    let setting = ["1".to_owned()];
    let one = fake.discover(&Choice::new(Some(&setting), None)).await;
    let other = fake.discover(&Choice::new(None, Some("GPU-aa"))).await;
    assert_eq!((ids(&one), ids(&other)), (vec![1], vec![0]));
    assert_eq!((&one.trouble, &other.trouble), (&None, &None));
    // Not even when it is asked for by number.
    assert_eq!(fake.names(&one.files(&[0])), [""; 0]);
    let none = fake.discover(&Choice::new(Some(&[]), None)).await;
    assert_eq!((ids(&none), none.fenced), (vec![0, 1, 2], true));
    assert_eq!(none.devices[0].kind, DeviceKind::Cpu);
    let wrong = fake.discover(&Choice::new(Some(&["7".to_owned()]), None)).await;
    assert_eq!(ids(&wrong), [0; 0]);
    assert!(wrong.trouble.is_some_and(|trouble| trouble.contains("agent.devices names \"7\"")));
}
